package integration

import (
	"net/http"
	"strings"
	"testing"
)

func TestABadConfigLeavesTheRunningOneUntouched(t *testing.T) {
	app, next := plain(t, "app", ""), plain(t, "next", "")
	s := run(t, "proxyos "+app.Addr)
	s.Wants(http.StatusOK, "app")
	for name, bad := range map[string]func() error{
		"refused while adapting": func() error { return s.Load(s.Site("proxyos " + next.Addr + " {\ntraffic_split ten\n}")) },
		"refused while decoding": func() error { return s.LoadJSON(s.Routes(`{"handler": "proxyos", "upstreams": ["a:1"], "bogus": 1}`)) },
		"refused while provisioning": func() error {
			return s.LoadJSON(s.Routes(`{"handler": "proxyos", "upstreams": ["` + next.Addr + `"]}, {"handler": "proxyos", "upstreams": ["wss://a"]}`))
		},
		"refused after provisioning": func() error {
			return s.Load("{\nproxyos {\nsync_interval 1ms\n}\n}\n" + s.Site("proxyos "+next.Addr))
		},
		"refused while starting": func() error {
			return s.Load(s.Site("proxyos "+next.Addr) + "\nhttp://" + next.Addr + " {\nbind 127.0.0.1\nproxyos a:1\n}")
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := bad(); err == nil {
				t.Fatal("the bad config was accepted")
			} else if strings.Contains(err.Error(), "panic") {
				t.Error(err)
			}
			s.Wants(http.StatusOK, "app")
		})
	}
	if got := next.Requests.Load(); got != 0 {
		t.Errorf("%d requests went where a refused config would send them", got)
	}
	s.MustLoad(s.Site("proxyos " + next.Addr))
	s.Wants(http.StatusOK, "next")
}

func TestAReloadServesTheNewConfig(t *testing.T) {
	one, two := plain(t, "one", ""), plain(t, "two", "")
	s := run(t, "proxyos "+one.Addr)
	for range 5 {
		s.MustLoad(s.Site("proxyos " + one.Addr))
		s.Wants(http.StatusOK, "one")
		s.MustLoad(s.Site("proxyos " + two.Addr))
		s.Wants(http.StatusOK, "two")
	}
}
