package proxyos

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestRaisingTheSplitMovesExactlyTheClientsBetween(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	steps := []float64{0, 0.001, 1, 10, 33.3, 50, 99.999, 100}
	for range 10_000 {
		position := random.Uint64()
		u := float64(position) / (1 << 64)
		for i, a := range steps {
			for _, b := range steps[i+1:] {
				lower, higher := newShare(a), newShare(b)
				moved := lower.covers(position) != higher.covers(position)
				if want := a/100 <= u && u < b/100; moved != want {
					t.Fatalf("from %v %% to %v %%, the client at %v moves: %t, want %t", a, b, u, moved, want)
				}
				if lower.covers(position) && !higher.covers(position) {
					t.Fatalf("raising the split from %v %% to %v %% sends the client at %v back to production", a, b, u)
				}
			}
		}
	}
}

func TestFreshCookieClientsAreDividedEvenlyFromTheStart(t *testing.T) {
	for _, percent := range []float64{1, 10, 25, 50, 90, 99} {
		c := newCohorts(&Sticky{Cookie: "c"}, "app", newRouteState())
		share := newShare(percent)
		staged := 0
		for n := 1; n <= 1000; n++ {
			position, _, ok := c.position(keyedRequest(t, ""), &share)
			if !ok {
				t.Fatal("a fresh client gets no position")
			}
			if share.covers(position) {
				staged++
			}
			if off := math.Abs(float64(staged) - float64(n)*percent/100); off > 3 {
				t.Fatalf("at %v %%, %d of the first %d clients are staging's", percent, staged, n)
			}
		}
	}
}

func TestRandomKeysAreDividedWithinThreeStandardDeviations(t *testing.T) {
	const keys = 100_000
	random := rand.New(rand.NewPCG(3, 4))
	c := newCohorts(&Sticky{Key: "{http.request.header.X-User}"}, "app", newRouteState())
	positions := make([]uint64, keys)
	for i := range positions {
		position, ok := c.keyPosition(keyedRequest(t, fmt.Sprintf("user-%x", random.Uint64())))
		if !ok {
			t.Fatal("a key that is not empty gives no position")
		}
		positions[i] = position
	}
	for _, percent := range []float64{0.1, 1, 10, 50, 99} {
		share, staged := newShare(percent), 0
		for _, position := range positions {
			if share.covers(position) {
				staged++
			}
		}
		p := percent / 100
		if off := math.Abs(float64(staged) - keys*p); off > 3*math.Sqrt(keys*p*(1-p)) {
			t.Errorf("at %v %%, staging has %d of %d keys", percent, staged, keys)
		}
	}
}

func TestKeysDependOnTheRouteAndOnNothingElse(t *testing.T) {
	sticky := &Sticky{Key: "{http.request.header.X-User}"}
	one, again := newCohorts(sticky, "app", newRouteState()), newCohorts(sticky, "app", newRouteState())
	other := newCohorts(sticky, "other", newRouteState())
	again.state.positions.Store(12345)
	half, together := newShare(50), 0
	for i := range 1000 {
		r := keyedRequest(t, fmt.Sprint(i))
		a, _ := one.keyPosition(r)
		b, _ := again.keyPosition(r)
		if a != b {
			t.Fatalf("two instances disagree on key %d", i)
		}
		if c, _ := other.keyPosition(r); half.covers(a) == half.covers(c) {
			together++
		}
	}
	if together < 400 || together > 600 {
		t.Errorf("two routes put %d of 1000 clients into the same group at 50 %%; by chance it would be 500", together)
	}
}

func TestAnEmptyKeyGivesNoPosition(t *testing.T) {
	c := newCohorts(&Sticky{Key: "{http.request.header.X-User}"}, "app", newRouteState())
	share := newShare(50)
	if _, _, ok := c.position(keyedRequest(t, ""), &share); ok {
		t.Error("a request without the key has a position")
	}
}

func TestCookiesThatHoldNoPosition(t *testing.T) {
	valid := encodePosition(1 << 62)
	if position, ok := decodePosition(valid); !ok || position != 1<<62 {
		t.Fatalf("%q does not give its position back", valid)
	}
	for name, value := range map[string]string{
		"empty":             "",
		"truncated":         valid[:len(valid)-1],
		"half":              valid[:positionDigits],
		"oversized":         valid + "0",
		"huge":              strings.Repeat("0", 1<<16),
		"no digits":         strings.Repeat("z", len(valid)),
		"signed":            "+" + valid[1:],
		"underscored":       "4_" + valid[2:],
		"another position":  "5" + valid[1:],
		"another checksum":  valid[:len(valid)-1] + string('a'+('f'-valid[len(valid)-1])%6),
		"a plain number":    "10",
		"spaces":            strings.Repeat(" ", len(valid)),
		"position only":     valid[:positionDigits] + "00000000",
		"multi-byte digits": strings.Repeat("٣", len(valid)/2),
	} {
		if value == valid {
			t.Fatalf("%s: the value is valid", name)
		}
		if position, ok := decodePosition(value); ok {
			t.Errorf("%s: %q is taken for position %d", name, value, position)
		}
	}
}

func FuzzDecodePosition(f *testing.F) {
	for _, position := range []uint64{0, 1, 1 << 62, goldenRatio, math.MaxUint64} {
		value := encodePosition(position)
		f.Add(value)
		f.Add(strings.ToUpper(value))
		f.Add(value[:positionDigits])
		f.Add("+" + value[1:])
	}
	f.Add("")
	f.Add("0123456789abcdef01234567")
	f.Add(strings.Repeat("0", positionDigits) + "+" + strings.Repeat("0", checksumDigits-1))
	f.Fuzz(func(t *testing.T, value string) {
		position, ok := decodePosition(value)
		if made := encodePosition(position); ok != (value == made) {
			t.Errorf("%q is accepted: %t; %q is what is made for position %d", value, ok, made, position)
		}
	})
}

// keyedRequest returns a request as Caddy hands it on, with the header X-User.
func keyedRequest(t testing.TB, user string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if user != "" {
		r.Header.Set("X-User", user)
	}
	return r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddyhttp.NewTestReplacer(r)))
}

// BenchmarkSticky measures how long it takes to find out a client's group. Beside it, for
// scale, stand Caddy's own policies for sticky clients, which find one of two upstreams.
func BenchmarkSticky(b *testing.B) {
	share := newShare(50)
	pool := reverseproxy.UpstreamPool{{Dial: "a:1", Host: new(reverseproxy.Host)}, {Dial: "b:1", Host: new(reverseproxy.Host)}}
	r := keyedRequest(b, "somebody")

	b.Run("cookie/proxyos", func(b *testing.B) {
		c := newCohorts(&Sticky{Cookie: "c"}, "app", newRouteState())
		r := r.Clone(r.Context())
		r.AddCookie(&http.Cookie{Name: "c", Value: encodePosition(1 << 62)})
		benchSticky(b, func() bool {
			_, _, ok := c.position(r, &share)
			return ok
		})
	})
	b.Run("cookie/stock", func(b *testing.B) {
		policy := provisionBench[*reverseproxy.CookieHashSelection](b, "http.reverse_proxy.selection_policies.cookie", object{"name": encode("c")})
		r, w := r.Clone(r.Context()), httptest.NewRecorder()
		policy.Select(pool, r, w)
		r.AddCookie(w.Result().Cookies()[0])
		benchSticky(b, func() bool { return policy.Select(pool, r, nil) != nil })
	})
	b.Run("key/proxyos", func(b *testing.B) {
		c := newCohorts(&Sticky{Key: "{http.request.header.X-User}"}, "app", newRouteState())
		benchSticky(b, func() bool {
			_, _, ok := c.position(r, &share)
			return ok
		})
	})
	b.Run("key/stock", func(b *testing.B) {
		policy := provisionBench[*reverseproxy.HeaderHashSelection](b, "http.reverse_proxy.selection_policies.header", object{"field": encode("X-User")})
		benchSticky(b, func() bool { return policy.Select(pool, r, nil) != nil })
	})
}

func benchSticky(b *testing.B, find func() bool) {
	b.ReportAllocs()
	for b.Loop() {
		if !find() {
			b.Fatal("the client has no place")
		}
	}
}
