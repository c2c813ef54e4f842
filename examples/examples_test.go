// Package examples_test checks that the examples and the snippets of the documents work.
package examples_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/proxyos/caddy-proxyos"
)

func TestEveryExampleLoads(t *testing.T) {
	for _, file := range examples(t) {
		t.Run(file, func(t *testing.T) {
			text := read(t, file)
			if strings.HasSuffix(file, "Caddyfile") {
				text = adapt(t, text)
			}
			validate(t, text)
		})
	}
}

func TestEveryExampleIsFormatted(t *testing.T) {
	for _, file := range examples(t) {
		if !strings.HasSuffix(file, "Caddyfile") {
			continue
		}
		if text := read(t, file); string(caddyfile.Format(text)) != string(text) {
			t.Errorf("%s: caddy fmt would change it", file)
		}
	}
}

func TestBlueGreenInJSONHasTheRoutesOfItsCaddyfile(t *testing.T) {
	fromCaddyfile := servers(t, adapt(t, read(t, "bluegreen.Caddyfile")))
	fromJSON := servers(t, read(t, "bluegreen.json"))
	if !reflect.DeepEqual(fromCaddyfile, fromJSON) {
		t.Errorf("the Caddyfile has the servers\n%v\nand the JSON\n%v", fromCaddyfile, fromJSON)
	}
}

// examples lists the examples by file name.
func examples(t *testing.T) []string {
	var files []string
	for _, pattern := range []string{"*.Caddyfile", "*.json", "*/Caddyfile", "../dist/Caddyfile"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	// a dashboard, which the tests in integration compare with the metrics
	files = slices.DeleteFunc(files, func(file string) bool { return file == "grafana.json" })
	if len(files) < 4 {
		t.Fatalf("found only the examples %v", files)
	}
	return files
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// adapt returns the JSON of a Caddyfile.
func adapt(t *testing.T, text []byte) []byte {
	t.Helper()
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range warnings {
		t.Errorf("adapting: %v", warning)
	}
	return config
}

// validate does what `caddy validate` does, but does not write to the disk and the log.
func validate(t *testing.T, text []byte) {
	t.Helper()
	config := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(text, config); err != nil {
		t.Fatal(err)
	}
	config.StorageRaw = encode(t, map[string]string{"module": "file_system", "root": t.TempDir()})
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}},
	}}
	if err := caddy.Validate(config); err != nil {
		t.Fatal(err)
	}
}

// servers returns the HTTP servers of a config.
func servers(t *testing.T, text []byte) any {
	t.Helper()
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]any
			}
		}
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Apps.HTTP.Servers) == 0 {
		t.Fatal("the config has no servers")
	}
	return config.Apps.HTTP.Servers
}

func encode(t *testing.T, value any) json.RawMessage {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}
