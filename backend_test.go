package proxyos

import (
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func resolveAll(t *testing.T, upstreams ...Upstream) []backend {
	t.Helper()
	backends, err := resolve(upstreams, nil, routeOptions{httpsPorts: newPortSet(defaultHTTPSPorts)})
	if err != nil {
		t.Fatal(err)
	}
	return backends
}

func TestOptionsApplyToEachPortOfARange(t *testing.T) {
	weight, on := 3, true
	for _, b := range resolveAll(t, Upstream{Address: "https://h:8442-8443", Weight: &weight, MaxRequests: 5, SkipTLSVerify: &on}) {
		if b.weight != 3 || b.maxRequests != 5 || b.verify || b.verifyReason != becauseOfUpstream {
			t.Errorf("%+v", b)
		}
	}
}

func TestTLSSettingsOfARangeNeedOneHTTPSPort(t *testing.T) {
	u := Upstream{Address: "h:8442-8443", TLS: &reverseproxy.TLSConfig{ServerName: "n"}}
	var spoke []string
	for _, b := range resolveAll(t, u) {
		spoke = append(spoke, spoken(b))
	}
	if want := []string{"http h:8442", "https h:8443 verified"}; !slices.Equal(spoke, want) {
		t.Errorf("got %q, want %q", spoke, want)
	}
}

func TestTheSameUpstreamTwiceIsAllowed(t *testing.T) {
	one, other := &reverseproxy.TLSConfig{ServerName: "n"}, &reverseproxy.TLSConfig{ServerName: "n"}
	for _, upstreams := range [][]Upstream{
		{{Address: "h"}, {Address: "http://h:80"}, {Address: "h:80/"}},
		{{Address: "h:8443"}, {Address: "https://H:8443"}},
		{{Address: "https://h", TLS: one}, {Address: "https://h:443", TLS: other}},
		{{Address: "h:8441-8443"}, {Address: "h:8442-8444"}},
	} {
		if err := checkMeanings(false, &groupPlan{name: production, backends: resolveAll(t, upstreams...)}); err != nil {
			t.Error(err)
		}
	}
}

func TestWarningNamesEachUpstreamUncheckedForItsPortOnce(t *testing.T) {
	on := true
	backends := resolveAll(t,
		Upstream{Address: "h:8006"}, Upstream{Address: "https://h:8007/"}, Upstream{Address: "h:8442-8443"}, Upstream{Address: "h:8006"},
		Upstream{Address: "http://a:8006"}, Upstream{Address: "https://a"}, Upstream{Address: "a:9443", SkipTLSVerify: &on}, Upstream{Address: "a:3000"})
	if got, want := detectedWithoutCheck(backends), []string{"h:8006", "https://h:8007", "h:8443"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
