package proxyos

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/proxyos/caddy-proxyos/internal/address"
)

// steeredRoute returns a route that is not loaded, with two upstreams in each group.
func steeredRoute(t *testing.T, percent float64) *route {
	t.Helper()
	r := testRoute("app", newRouteState(), newSplitter(percent))
	for _, g := range r.groups {
		for _, name := range []string{"1", "2"} {
			a, err := address.Parse(g.name + name + ".invalid:80")
			if err != nil {
				t.Fatal(err)
			}
			upstream := &reverseproxy.Upstream{Dial: a.Dial(), Host: new(reverseproxy.Host)}
			g.pool = append(g.pool, upstream)
			g.targets = append(g.targets, &target{backend: backend{address: a, dial: a.Dial(), weight: 1}, upstream: upstream})
		}
	}
	return r
}

func (r *route) fail(openFor time.Duration, groups ...*group) {
	for _, g := range groups {
		for _, t := range g.targets {
			r.breaker.failed(t.backend.dial, openFor)
		}
	}
}

func TestSharesDoNotRiseTowardAGroupThatCannotServe(t *testing.T) {
	down := func(names ...string) func(*route) {
		return func(r *route) {
			for _, g := range r.groups {
				for _, name := range names {
					if g.name == name {
						r.fail(time.Minute, g)
					}
				}
			}
		}
	}
	for name, test := range map[string]struct {
		from, to float64
		prepare  func(*route)
		refused  string // a part of the error; empty if it is not
	}{
		"promote to staging that is down":       {10, 100, down(staging), "staging1.invalid:80 is down for another N s, staging2.invalid:80 is down for another N s"},
		"a little more to staging that is down": {10, 10.5, down(staging), "staging cannot serve"},
		"the same to staging that is down":      {10, 10, down(staging), ""},
		"less to staging that is down":          {10, 5, down(staging), ""},
		"none to staging that is down":          {10, 0, down(staging), ""},
		"half back to production that is down":  {100, 50, down(production), "production cannot serve"},
		"roll back to production that is down":  {100, 0, down(production), ""},
		"less to production that is down":       {10, 100, down(production), ""},
		"promote while both are down":           {10, 100, down(production, staging), "staging cannot serve"},
		"roll back while both are down":         {10, 0, down(production, staging), ""},
		"staging is on trial":                   {10, 100, func(r *route) { r.fail(0, r.staging) }, "is on trial"},
		"one of two is on trial":                {10, 100, func(r *route) { r.breaker.failed(r.staging.targets[0].backend.dial, 0) }, ""},
		"staging is drained":                    {10, 100, func(r *route) { r.staging.targets[0].backend.weight, r.staging.targets[1].backend.weight = 0, 0 }, "has weight 0"},
		"staging has no upstream":               {10, 100, func(r *route) { r.staging.targets = nil }, "it has no upstream"},
		"staging is dynamic":                    {10, 100, func(r *route) { r.staging.targets, r.staging.dynamic = nil, upstreamSource{} }, ""},
		"there is no staging":                   {0, 100, func(r *route) { r.staging = nil }, ""},
		"a name that is not known to be dead":   {0, 100, func(*route) {}, ""},
	} {
		r := steeredRoute(t, test.from)
		test.prepare(r)
		err := r.refuse(t.Context(), test.to)
		said := regexp.MustCompile(`\d+ s\b`).ReplaceAllString(fmt.Sprint(err), "N s")
		switch {
		case test.refused == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.refused == "":
		case err == nil || !strings.Contains(said, test.refused) || !strings.Contains(err.Error(), forceInAPI):
			t.Errorf("%s: %v, want %q", name, err, test.refused)
		case err.(caddy.APIError).HTTPStatus != 409:
			t.Errorf("%s: %+v", name, err)
		}
	}
}

func TestALongReasonIsCut(t *testing.T) {
	r := steeredRoute(t, 10)
	r.staging.targets = append(r.staging.targets, r.staging.targets...)
	r.fail(time.Minute, r.staging)
	if got := r.staging.whyUnable(t.Context(), true); !strings.HasSuffix(got, ", and so on for 1 more") || strings.Count(got, "is down") != maxNamed {
		t.Errorf("the reason is %q", got)
	}
}
