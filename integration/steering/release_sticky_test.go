package steering

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestOfAThousandFreshCookieClientsStagingGetsItsShare(t *testing.T) {
	s, _, _ := blueGreen(t, "sticky cookie", "traffic_split 10")
	staged := 0
	for range 1000 {
		if group, _ := new(visitor).Visit(t, s); group == "staging" {
			staged++
		}
	}
	if staged < 97 || staged > 103 {
		t.Errorf("staging got %d of 1000 clients, want 100", staged)
	}
}

func TestRaisingAndLoweringTheSplitMovesTheSameClients(t *testing.T) {
	s, _, _ := blueGreen(t, "sticky cookie", "traffic_split 10")
	visitors := make([]visitor, 300)
	for i := range visitors {
		visitors[i].Visit(t, s)
	}
	for _, percent := range []float64{10, 35, 80, 100, 80, 35, 10, 0, 10} {
		s.Split(percent)
		for i := range visitors {
			v := &visitors[i]
			want := "production"
			if v.Position(t) < percent/100 {
				want = "staging"
			}
			if group, given := v.Visit(t, s); group != want || given != nil {
				t.Fatalf("at %v %%, the client at %v is %s's and is given the cookie %v; want %s and none", percent, v.Position(t), group, given, want)
			}
		}
	}
}

func TestTheStickyCookie(t *testing.T) {
	s, _, _ := blueGreen(t, "sticky cookie", "traffic_split 50")
	var v visitor
	first, given := v.Visit(t, s)
	if given == nil {
		t.Fatal("a fresh client is given no cookie")
	}
	if given.Name != "proxyos" || !given.HttpOnly || given.SameSite != http.SameSiteLaxMode || given.Path != "/" ||
		given.Secure || given.MaxAge != 0 || !given.Expires.IsZero() || given.Domain != "" {
		t.Errorf("the cookie is %s", given.Raw)
	}
	for range 20 {
		if group, given := v.Visit(t, s); group != first || given != nil {
			t.Fatalf("the client of %s comes to %s, and is given %v", first, group, given)
		}
	}
	valid := v.Cookie.Value
	for name, value := range map[string]string{
		"empty": "", "truncated": valid[:12], "oversized": valid + valid, "huge": strings.Repeat("f", 8<<10),
		"not a number": strings.Repeat("x", len(valid)), "forged": "0000000000000000" + valid[16:], "quoted": `"` + valid + `"`,
	} {
		v := visitor{Cookie: &http.Cookie{Name: "proxyos", Value: value}}
		group, given := v.Visit(t, s)
		if name == "quoted" { // which is another way of writing a valid one
			if group != first || given != nil {
				t.Errorf("a quoted cookie leads to %s, want %s, and is replaced by %v", group, first, given)
			}
			continue
		}
		if given == nil || len(given.Value) != len(valid) {
			t.Errorf("a cookie that is %s is replaced by %v", name, given)
			continue
		}
		if again, given := v.Visit(t, s); again != group || given != nil {
			t.Errorf("%s: the client of %s comes to %s, and is given %v", name, group, again, given)
		}
	}
	// of several cookies the first valid one counts
	v = visitor{Header: http.Header{"Cookie": {"proxyos=junk; proxyos=" + valid}}}
	if group, given := v.Visit(t, s); group != first || given != nil {
		t.Errorf("a valid cookie behind junk leads to %s, want %s, and is replaced by %v", group, first, given)
	}
}

func TestNoCookieIsGivenWhereItWouldChangeNothing(t *testing.T) {
	s, _, _ := blueGreen(t, "sticky cookie", "traffic_split 50", "staging_when header X-Tester 1", "production_when header X-Stable 1")
	for _, percent := range []float64{0, 100} {
		s.Split(percent)
		for range 10 {
			if _, given := new(visitor).Visit(t, s); given != nil {
				t.Fatalf("at %v %%, a client is given %v", percent, given)
			}
		}
	}
	s.Split(50)
	for _, header := range []string{"X-Tester", "X-Stable"} {
		v := visitor{Header: http.Header{header: {"1"}}}
		if _, given := v.Visit(t, s); given != nil {
			t.Errorf("a forced request is given %v", given)
		}
	}
	if _, given := new(visitor).Visit(t, s); given == nil {
		t.Error("at 50 %, a client is given no cookie")
	}
}

func TestTheStickyCookieIsSecureOverTLS(t *testing.T) {
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	s.URL = "https://" + s.Addr
	s.MustLoad(strings.Replace(quiet, "{\n", "{\n\tauto_https disable_redirects\n", 1) + s.Site("tls internal\n"+blueGreenDirective(prod.Addr, stag.Addr, "sticky cookie crew", "traffic_split 50")))
	eventually(t, "Caddy has a certificate", func() bool {
		res, err := s.Client.Get(s.URL)
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	})
	_, given := new(visitor).Visit(t, s)
	if given == nil || given.Name != "crew" || !given.Secure || !given.HttpOnly {
		t.Errorf("the cookie over TLS is %v", given)
	}
}

func TestUpstreamsKeepTheirOwnCookies(t *testing.T) {
	s, prod, stag := blueGreen(t, "sticky cookie", "traffic_split 50")
	for _, b := range []*backend{prod, stag} {
		b.Answer(func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "s"})
			io.WriteString(w, b.Name)
		})
	}
	res, err := s.Client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	var names []string
	for _, cookie := range res.Cookies() {
		names = append(names, cookie.Name)
	}
	slices.Sort(names)
	if fmt.Sprint(names) != "[proxyos session]" {
		t.Errorf("the client is given the cookies %v", names)
	}
}

func TestInstancesAndARestartAgreeOnSticky(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	byKey := freeAddr(t)
	config := func(c *child) string {
		return quiet + c.Site(blueGreenDirective(prod.Addr, stag.Addr, "sticky cookie", "traffic_split 30")) +
			"http://" + byKey + " {\n" + fmt.Sprintf("proxyos %s {\nname keyed\nstaging %s\nsticky key {header.X-User}\ntraffic_split 30\n}\n}\n", prod.Addr, stag.Addr)
	}
	one, other := newChild(t), newChild(t)
	one.Write(adapt(t, config(one)))
	one.Start()
	groups := func(c *child, visitors []visitor) (byCookie, byUser []string) {
		keyed := &server{Caddy: &proxytest.Caddy{URL: "http://" + byKey, Client: c.Client}, T: t}
		for i := range visitors {
			group, _ := visitors[i].Visit(t, c.Server)
			byCookie = append(byCookie, group)
			user := visitor{Header: http.Header{"X-User": {fmt.Sprint("user", i)}}}
			group, given := user.Visit(t, keyed)
			if given != nil {
				t.Fatalf("a client with a key is given the cookie %v", given)
			}
			byUser = append(byUser, group)
		}
		return byCookie, byUser
	}
	visitors := make([]visitor, 200)
	byCookie, byUser := groups(one, visitors)
	if n := count(byCookie, "staging"); n < 57 || n > 63 {
		t.Errorf("staging has %d of 200 clients by cookie, want 60", n)
	}
	if n := count(byUser, "staging"); n < 40 || n > 80 {
		t.Errorf("staging has %d of 200 clients by key, want about 60", n)
	}
	check := func(who string, c *child) {
		againByCookie, againByUser := groups(c, visitors)
		if !slices.Equal(againByCookie, byCookie) {
			t.Errorf("%s disagrees on clients with cookies", who)
		}
		if !slices.Equal(againByUser, byUser) {
			t.Errorf("%s disagrees on clients with keys", who)
		}
	}
	one.Stop()
	one.Start()
	check("a restarted instance", one)
	one.Stop() // the key site has one address, for one instance at a time
	other.Write(adapt(t, config(other)))
	other.Start()
	check("another instance", other)
}

func count(values []string, value string) (n int) {
	for _, v := range values {
		if v == value {
			n++
		}
	}
	return n
}
