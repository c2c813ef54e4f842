package steering

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A script that believes a typo would go on as if it had promoted.
func TestMistypedCommandsFail(t *testing.T) {
	t.Parallel()
	c := newChild(t)
	for line, want := range map[string]string{
		"promot shop":              "did you mean promote?",
		"promot shop --drain 5s":   "did you mean promote?",
		"--drain 5s promot shop":   "",
		"promot --json":            "did you mean promote?",
		"rolback shop":             "did you mean rollback?",
		"deploy shop":              "`caddy proxyos --help` lists them",
		"--json list":              "",
		"list --jsn":               "`caddy proxyos list --help` lists the flags",
		"release strat shop":       "did you mean start?",
		"release shop start":       "write it after start",
		"release --json start app": "the flags of start come after it",
		"release start --wach app": "`caddy proxyos release start --help` lists the",
		"probe --tiemout 3s pve":   "`caddy proxyos probe --help` lists the flags",
		"promote shop --drain 5 m": `"m" is one argument too many`,
	} {
		code, stdout, stderr := steer(c, strings.Fields(line)...)
		if code == 0 || stdout != "" || !strings.Contains(stderr, want) || !strings.HasPrefix(stderr, "Error: ") {
			t.Errorf("caddy proxyos %s exits with %d:\n%s%s", line, code, stdout, stderr)
		}
	}
	if output, err := c.CLI("proxyos", "--json").CombinedOutput(); err == nil || !strings.Contains(string(output), "flags come after a command") {
		t.Errorf("caddy proxyos --json prints %v:\n%s", err, output)
	}
	if output, err := c.CLI("proxyos").CombinedOutput(); err != nil || !strings.Contains(string(output), "promote") {
		t.Errorf("caddy proxyos alone prints %v:\n%s", err, output)
	}
}

// What is wrong with the address of the admin API is said in plain text.
func TestWhatAnswersIsNotTheAdminAPI(t *testing.T) {
	t.Parallel()
	app := plain(t, "app", "")
	c := newChild(t)
	wants := func(want, address string) {
		t.Helper()
		output, err := c.CLI("proxyos", "list", "--address", address).CombinedOutput()
		flat := strings.Join(strings.Fields(string(output)), " ")
		if err == nil || !strings.HasPrefix(flat, "Error: ") || !strings.Contains(flat, want) || strings.Contains(flat, "{") {
			t.Errorf("list --address %s prints %v:\n%s", address, err, output)
		}
	}
	wants("is not Caddy's admin API", app.Addr)
	wants("is Caddy running?", "unix/"+filepath.Join(c.Home, "none.sock"))
	wants("write one such as localhost:2019", "localhost:http")
	wants("write one such as localhost:2019", "localhost:2019-2021")
	c.Write(`{}`) // a Caddy whose config has no proxyos
	c.Start()
	wants("has no proxyos route", c.Admin)
}

func TestRouteNamesComplete(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.Write(adapt(t, c.BlueGreen(prod, stag)))
	c.Start()
	complete := func(address string, args ...string) string {
		args = append([]string{"__complete", "proxyos", args[0], "--address", address}, args[1:]...)
		output, err := c.CLI(args...).Output()
		if err != nil {
			t.Errorf("%v: %v", args, err)
		}
		return string(output)
	}
	for _, command := range []string{"show", "split", "promote", "rollback", "reset"} {
		if got := complete(c.Admin, command, "a"); got != "app\n:4\n" {
			t.Errorf("%s completes to %q", command, got)
		}
	}
	if got := complete(c.Admin, "split", "app", ""); got != ":4\n" {
		t.Errorf("after the name, split completes to %q", got)
	}

	// one that accepts and says nothing
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	started := time.Now()
	if got := complete(silent.Addr().String(), "show", ""); got != ":4\n" {
		t.Errorf("without an answer, show completes to %q", got)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("completing without an answer took %s", took)
	}
}

// A number without a unit is in seconds.
func TestDrainTakesSeconds(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c := newChild(t)
	c.Write(adapt(t, c.BlueGreen(prod, stag)))
	c.Start()
	for drain, code := range map[string]int{"30": 0, "1.5": 0, "0": 0, "1m": 0, "-1": 2, "soon": 2, "": 2, "5 m": 2, "inf": 2} {
		want := map[int]string{0: "app: 100 % to staging", 2: "--drain"}[code]
		wantsSteer(c, code, want, "promote", "app", "--drain="+drain)
	}
	if err := os.WriteFile(filepath.Join(c.Home, "Caddyfile"), []byte("{\nadmin "+c.Admin+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := c.CLI("proxyos", "show", "app", "--config", "Caddyfile").CombinedOutput(); err != nil {
		t.Errorf("show --config: %v\n%s", err, output)
	}
}
