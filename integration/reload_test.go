package integration

import (
	"net/http"
	"strings"
	"testing"
)

func TestABadConfigLeavesTheRunningOneUntouched(t *testing.T) {
	app, next := plain(t, "app", ""), plain(t, "next", "")
	s := run(t, "proxyos "+app.addr)
	s.wants(http.StatusOK, "app")
	for name, bad := range map[string]func() error{
		"refused while adapting": func() error { return s.load(s.site("proxyos " + next.addr + " {\ntraffic_split ten\n}")) },
		"refused while decoding": func() error { return s.loadJSON(s.routes(`{"handler": "proxyos", "upstreams": ["a:1"], "bogus": 1}`)) },
		"refused while provisioning": func() error {
			return s.loadJSON(s.routes(`{"handler": "proxyos", "upstreams": ["` + next.addr + `"]}, {"handler": "proxyos", "upstreams": ["wss://a"]}`))
		},
		"refused after provisioning": func() error {
			return s.load("{\nproxyos {\nsync_interval 1ms\n}\n}\n" + s.site("proxyos "+next.addr))
		},
		"refused while starting": func() error {
			return s.load(s.site("proxyos "+next.addr) + "\nhttp://" + next.addr + " {\nbind 127.0.0.1\nproxyos a:1\n}")
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := bad(); err == nil {
				t.Fatal("the bad config was accepted")
			} else if strings.Contains(err.Error(), "panic") {
				t.Error(err)
			}
			s.wants(http.StatusOK, "app")
		})
	}
	if got := next.requests.Load(); got != 0 {
		t.Errorf("%d requests went where a refused config would send them", got)
	}
	s.mustLoad(s.site("proxyos " + next.addr))
	s.wants(http.StatusOK, "next")
}

func TestAReloadServesTheNewConfig(t *testing.T) {
	one, two := plain(t, "one", ""), plain(t, "two", "")
	s := run(t, "proxyos "+one.addr)
	for range 5 {
		s.mustLoad(s.site("proxyos " + one.addr))
		s.wants(http.StatusOK, "one")
		s.mustLoad(s.site("proxyos " + two.addr))
		s.wants(http.StatusOK, "two")
	}
}
