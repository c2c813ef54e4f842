package lab

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// BothWays runs a test twice: with a config written as directives of a Caddyfile, and with
// the same config written as the JSON of one handler. Both must adapt to the same JSON.
func BothWays(t *testing.T, directives, handler string, test func(*testing.T, *Server)) {
	t.Helper()
	t.Run("Caddyfile", func(t *testing.T) {
		s := NewServer(t)
		if got, want := handlerOf(t, Adapt(t, s.Site(directives))), proxytest.Canonical(t, handler); got != want {
			t.Errorf("the Caddyfile adapts to\n%s\nthe JSON says\n%s", got, want)
		}
		s.MustLoad(s.Site(directives))
		test(t, s)
	})
	t.Run("JSON", func(t *testing.T) { test(t, RunJSON(t, handler)) })
}

// BothForms runs a test with directives as a Caddyfile, and with the JSON that their first
// proxyos handler adapts to, with the fast path on and off.
func BothForms(t *testing.T, directives string, test func(*testing.T, *Server)) {
	t.Helper()
	t.Run("Caddyfile", func(t *testing.T) { test(t, Run(t, directives)) })
	t.Run("JSON", func(t *testing.T) {
		s := NewServer(t)
		handler := handlerOf(t, Adapt(t, s.Site(directives)))
		if err := s.LoadJSON(s.Routes(handler)); err != nil {
			t.Fatalf("loading %s: %v", handler, err)
		}
		test(t, s)
	})
	t.Run("JSON, fast_path off", func(t *testing.T) {
		s := NewServer(t)
		handler := Slowed(handlerOf(t, Adapt(t, s.Site(directives))))
		if err := s.LoadJSON(s.Routes(handler)); err != nil {
			t.Fatalf("loading %s: %v", handler, err)
		}
		test(t, s)
	})
}

// Slowed turns the fast path of every proxyos handler in some JSON off.
func Slowed(config string) string {
	return strings.ReplaceAll(config, `"handler":"proxyos"`, `"fast_path":false,"handler":"proxyos"`)
}

// Adapt returns the JSON of a Caddyfile.
func Adapt(t testing.TB, text string) string {
	t.Helper()
	config, err := proxytest.AdaptCaddyfile(text)
	if err != nil {
		t.Fatalf("adapting\n%s\n%v", text, err)
	}
	return string(config)
}

// handlerOf returns the first proxyos handler of a config, in canonical form.
func handlerOf(t testing.TB, config string) string {
	t.Helper()
	var c any
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		t.Fatal(err)
	}
	var find func(any) any
	find = func(value any) any {
		switch value := value.(type) {
		case map[string]any:
			if value["handler"] == "proxyos" {
				return value
			}
			for _, inner := range value {
				if found := find(inner); found != nil {
					return found
				}
			}
		case []any:
			for _, inner := range value {
				if found := find(inner); found != nil {
					return found
				}
			}
		}
		return nil
	}
	encoded, err := json.Marshal(find(c))
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// EachObject calls visit for every object in a JSON value, the outer ones first.
func EachObject(value any, visit func(map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		visit(value)
		for _, inner := range value {
			EachObject(inner, visit)
		}
	case []any:
		for _, inner := range value {
			EachObject(inner, visit)
		}
	}
}
