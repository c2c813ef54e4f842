package upstreams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/certmagic"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func init() { caddy.RegisterModule(new(rememberedEvents)) }

// rememberedEvents is an event handler that remembers what it is told. All of one name remember
// in the same place.
type rememberedEvents struct {
	Name string `json:"name"`
}

// remembered are the events by the name of their handler.
var remembered = struct {
	sync.Mutex
	events map[string][]string
	block  chan struct{} // handlers named "slow" wait for it
}{events: make(map[string][]string)}

func (*rememberedEvents) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.remember", New: func() caddy.Module { return new(rememberedEvents) }}
}

func (h *rememberedEvents) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&h.Name) {
		return d.ArgErr()
	}
	return nil
}

// Handle remembers an event as a text: its name, its origin unless that is a proxyos route, and its
// data in order.
func (h *rememberedEvents) Handle(_ context.Context, e caddy.Event) error {
	text := e.Name()
	if id := e.Origin().CaddyModule().ID; id != "http.handlers.proxyos" {
		text += " from " + string(id)
	}
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		text += fmt.Sprintf(" %s=%v", key, e.Data[key])
	}
	remembered.Lock()
	remembered.events[h.Name] = append(remembered.events[h.Name], text)
	block := remembered.block
	remembered.Unlock()
	if h.Name == "slow" {
		<-block
	}
	return nil
}

// heardBy returns what the handler of a name remembers.
func heardBy(name string) []string {
	remembered.Lock()
	defer remembered.Unlock()
	return slices.Clone(remembered.events[name])
}

// toldSite is a Caddy whose route "app" has events that somebody hears.
type toldSite struct {
	*lab.Server
	t        *testing.T
	one, two *proxytest.Backend // production
	staged   *proxytest.Backend
	inJSON   bool

	scheme             string // of production
	directives, fields string // more of the route, in a Caddyfile and in JSON
}

// toldBothWays runs a test with configs in Caddyfiles and, in the long tests, in JSON: most of them
// wait for what is looked at each second.
func toldBothWays(t *testing.T, test func(*toldSite)) {
	t.Helper()
	for _, form := range []string{"Caddyfile", "JSON"}[:lab.Sized(1, 2, 2)] {
		t.Run(form, func(t *testing.T) {
			remembered.Lock()
			clear(remembered.events)
			remembered.block = make(chan struct{})
			remembered.Unlock()
			test(&toldSite{
				Server: newServer(t), t: t, inJSON: form == "JSON",
				one: proxytest.Plain(t, "one", ""), two: proxytest.Plain(t, "two", ""), staged: proxytest.Plain(t, "staged", ""),
			})
		})
	}
}

// load loads a config whose events a handler of that name hears. The route has others beside it,
// which its events must not seem to come from.
func (s *toldSite) load(listener string) {
	s.t.Helper()
	one, two := s.scheme+s.one.Addr, s.scheme+s.two.Addr
	if !s.inJSON {
		options := ""
		for _, event := range []string{"split", "upstream", "group", "certificate", "release"} {
			options += "on proxyos." + event + " remember " + listener + "\n"
		}
		s.MustLoad("{\nevents {\n" + options + "}\nproxyos {\nsync_interval 100ms\n}\n}\n" + s.Site(fmt.Sprintf(
			"route {\nproxyos %s %s {\nname app\nstaging http://%s\ntraffic_split 10\n%s\n}\nrespond later\n}", one, two, s.staged.Addr, s.directives)))
		return
	}
	config := fmt.Sprintf(`{"apps": {
		"events": {"subscriptions": [{"events": ["proxyos.split", "proxyos.upstream", "proxyos.group", "proxyos.certificate", "proxyos.release"],
			"modules": ["http.handlers.proxyos"], "handlers": [{"handler": "remember", "name": %q}]}]},
		"proxyos": {"sync_interval": "100ms"},
		"http": {"servers": {"test": {"listen": [%q], "automatic_https": {"disable": true}, "routes": [{"handle": [
			{"handler": "subroute", "routes": [{"handle": [{"handler": "subroute", "routes": [{"handle": [
				{"handler": "proxyos", "name": "app", "upstreams": [%q, %q], "staging": {"upstreams": [%q]}, "traffic_split": 10 %s},
				{"handler": "static_response", "body": "later"}]}]}]}]}]}]}}}}}`, listener, s.Addr, one, two, "http://"+s.staged.Addr, s.fields)
	if err := s.LoadJSON(config); err != nil {
		s.t.Fatal(err)
	}
}

// steer changes something by the admin API.
func (s *toldSite) steer(method, path, change string) {
	s.t.Helper()
	if status, answer := s.Ask(method, "/proxyos/routes/app"+path, change); status != http.StatusOK {
		s.t.Errorf("%s %s: %d %s", method, change, status, answer)
	}
}

// hears waits until a handler has heard as many events as given, which must be those, in any
// order.
func (s *toldSite) hears(listener string, want ...string) {
	s.t.Helper()
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = slices.Sorted(slices.Values(heardBy(listener))); slices.Equal(got, want) {
			return
		}
		if len(got) > len(want) {
			break
		}
	}
	s.t.Fatalf("%s has heard\n%s\nwant\n%s", listener, strings.Join(got, "\n"), strings.Join(want, "\n"))
}

func (s *toldSite) upstreamEvent(event string, b *proxytest.Backend) string {
	return fmt.Sprintf("proxyos.upstream event=%s group=production route=app upstream=%s", event, b.Addr)
}

func TestAChangedShareIsAnEvent(t *testing.T) {
	toldBothWays(t, func(s *toldSite) {
		s.load("first")
		s.steer(http.MethodPatch, "", `{"traffic_split": 25, "by": "ops"}`)
		s.steer(http.MethodPatch, "", `{"traffic_split": 25, "by": "again"}`) // which changes nothing
		s.steer(http.MethodPatch, "", `{"traffic_split": 0, "by": "ops"}`)
		s.steer(http.MethodDelete, "/override", "")
		s.steer(http.MethodDelete, "/override", "")
		want := []string{
			"proxyos.split by=ops from=10 route=app to=25",
			"proxyos.split by=ops from=25 route=app to=0",
			"proxyos.split by=127.0.0.1 from=0 route=app to=10",
		}
		s.hears("first", want...)
		s.steer(http.MethodPatch, "", `{"traffic_split": 50, "by": "ops"}`)
		s.load("second") // a reload does not change the share
		s.hears("first", append(want, "proxyos.split by=ops from=10 route=app to=50")...)
		s.steer(http.MethodPatch, "", `{"traffic_split": 60, "by": "ops"}`)
		s.hears("second", "proxyos.split by=ops from=50 route=app to=60")
		s.hears("first", append(want, "proxyos.split by=ops from=10 route=app to=50")...)

		s.MustLoad("{\n}\n")
		s.load("third") // nor does a start, with the share that was set before
		s.steer(http.MethodPatch, "", `{"traffic_split": 70, "by": "ops"}`)
		s.hears("third", "proxyos.split by=ops from=60 route=app to=70")
	})
}

// What another instance of the cluster has set is an event here, too.
func TestAShareThatIsFollowedIsAnEvent(t *testing.T) {
	toldBothWays(t, func(s *toldSite) {
		s.load("first")
		s.steer(http.MethodPatch, "", `{"traffic_split": 25, "by": "here"}`)
		const stored = "proxyos/overrides.json"
		elsewhere, ctx := &certmagic.FileStorage{Path: s.Store}, s.t.Context()
		if err := elsewhere.Lock(ctx, stored); err != nil { // as another instance would
			s.t.Fatal(err)
		}
		text, err := elsewhere.Load(ctx, stored)
		if err != nil {
			s.t.Fatal(err)
		}
		edited := strings.NewReplacer(`"traffic_split": 25`, `"traffic_split": 75`, `"here"`, `"elsewhere"`).Replace(string(text))
		if err := errors.Join(elsewhere.Store(ctx, stored, []byte(edited)), elsewhere.Unlock(ctx, stored)); err != nil {
			s.t.Fatal(err)
		}
		s.hears("first", "proxyos.split by=here from=10 route=app to=25", "proxyos.split by=elsewhere from=25 route=app to=75")
	})
}

func TestAnUpstreamThatIsSteeredIsAnEvent(t *testing.T) {
	toldBothWays(t, func(s *toldSite) {
		s.load("first")
		at := "/upstreams/" + s.one.Addr
		s.steer(http.MethodPatch, at, `{"state": "drain"}`)
		want := []string{s.upstreamEvent("drained", s.one)}
		s.hears("first", want...)
		s.load("second") // who knows it already
		s.steer(http.MethodPatch, at, `{"state": "ready", "weight": 5}`)
		s.hears("second", s.upstreamEvent("ready", s.one), s.upstreamEvent("weight", s.one)+" weight=5")
		s.steer(http.MethodDelete, at+"/override", "")
		s.hears("second", s.upstreamEvent("ready", s.one), s.upstreamEvent("weight", s.one)+" weight=5", s.upstreamEvent("weight", s.one)+" weight=1")
		s.hears("first", want...)
	})
}

// An upstream goes down and comes back, and so does its group, over a reload in between.
func TestWhatGoesDownAndComesBackIsAnEvent(t *testing.T) {
	toldBothWays(t, func(s *toldSite) {
		s.load("first")
		s.one.Stop()
		for range 4 {
			s.Get("/")
		}
		s.hears("first", s.upstreamEvent("down", s.one))
		s.two.Stop()
		for range 4 {
			s.Get("/")
		}
		want := []string{s.upstreamEvent("down", s.one), s.upstreamEvent("down", s.two), "proxyos.group event=lost group=production route=app"}
		s.hears("first", want...)

		s.load("second")
		s.one.Start()
		for range 4 {
			s.Get("/") // to those that are down, since there is nobody else
		}
		s.hears("second", s.upstreamEvent("up", s.one), "proxyos.group event=back group=production route=app")
		s.hears("first", want...)
	})
}

func TestWhatHealthChecksFindOutIsAnEvent(t *testing.T) {
	for name, check := range map[string]struct{ directives, fields string }{
		"active":  {"health_uri /\nhealth_interval 50ms", `, "health_checks": {"active": {"uri": "/", "interval": "50ms"}}`},
		"passive": {"fail_duration 1m", `, "health_checks": {"passive": {"fail_duration": "1m"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			toldBothWays(t, func(s *toldSite) {
				s.directives, s.fields = check.directives, check.fields
				s.load("first")
				s.one.Stop()
				for range 4 {
					s.Get("/")
				}
				s.hears("first", s.upstreamEvent("down", s.one))
				if name == "active" {
					s.one.Start()
					s.hears("first", s.upstreamEvent("down", s.one), s.upstreamEvent("up", s.one))
				}
			})
		})
	}
}

func TestAChangedCertificateIsAnEvent(t *testing.T) {
	toldBothWays(t, func(s *toldSite) {
		s.scheme, s.directives, s.fields = "https://", "skip_tls_verify", `, "skip_tls_verify": true`
		s.one, s.two = proxytest.Untrusted(s.t, "one", ""), proxytest.Untrusted(s.t, "two", "")
		s.load("first")
		for range 4 {
			s.Get("/")
		}
		s.one.Stop()
		s.one.TLS = proxytest.Serving(proxytest.SelfSigned(s.t, s.one.Addr))
		s.one.Start()
		for range 4 {
			s.Get("/")
		}
		s.hears("first", "proxyos.certificate event=changed route=app upstream="+s.one.Addr)
	})
}

// Whoever subscribes may take his time: nobody waits for him, and a reload not for long.
func TestNobodyWaitsForASubscriber(t *testing.T) {
	toldBothWays(t, func(s *toldSite) {
		s.load("slow")
		defer close(remembered.block)
		began := time.Now()
		for share := range 20 {
			s.steer(http.MethodPatch, "", fmt.Sprintf(`{"traffic_split": %d, "by": "ops"}`, share))
			s.Get("/")
		}
		proxytest.Eventually(s.t, "the subscriber is called", func() bool { return len(heardBy("slow")) == 1 })
		s.load("next")
		s.steer(http.MethodPatch, "", `{"traffic_split": 77, "by": "ops"}`)
		s.hears("next", "proxyos.split by=ops from=19 route=app to=77")
		if took := time.Since(began); took > 15*time.Second {
			s.t.Errorf("it took %s", took)
		}
		if got := heardBy("slow"); len(got) != 1 {
			s.t.Errorf("a config that has stopped still tells: %v", got)
		}
	})
}

// Interface guards
var (
	_ caddyevents.Handler   = (*rememberedEvents)(nil)
	_ caddyfile.Unmarshaler = (*rememberedEvents)(nil)
)

// Each change of a release is told, with its reason, beside the share that it has set.
func TestAReleaseIsAnEvent(t *testing.T) {
	toldBothWays(t, func(s *toldSite) {
		s.directives = "release {\nsteps 20 50\nhold 1s\nmin_requests 1\nslower off\nmax_errors off\napprove 50\n}"
		s.fields = `, "release": {"steps": [20, 50], "hold": "1s", "min_requests": 1, "slower": 0, "max_errors": 0, "approve": [50]}`
		s.load("first")
		post := func(body string) {
			t.Helper()
			if status, answer := s.Ask(http.MethodPost, "/proxyos/routes/app/release", body); status != http.StatusOK {
				t.Fatalf("%s: HTTP %d: %s", body, status, answer)
			}
		}
		post(`{"action": "start", "by": "ops"}`)
		s.Tally(20)
		wants := func(want ...string) {
			t.Helper()
			var heard []string
			for _, text := range want {
				eventually(t, text+" is told", func() bool { heard = heardBy("first"); return slices.Contains(heard, text) })
			}
		}
		wants("proxyos.release dry_run=false percent=20 phase=running reason=started by ops route=app",
			"proxyos.split by=release from=10 route=app to=20",
			"proxyos.release dry_run=false percent=20 phase=running reason=waiting for somebody to approve the step of 50 % route=app")
		post(`{"action": "approve", "percent": 50, "by": "boss"}`)
		wants("proxyos.release dry_run=false percent=50 phase=running reason=staging does no worse at 20 %: on to 50 % route=app")
		post(`{"action": "abort", "by": "ops"}`)
		wants("proxyos.release dry_run=false percent=50 phase=rolled_back reason=aborted by ops route=app",
			"proxyos.split by=release from=50 route=app to=0")
		for _, text := range heardBy("first") {
			if n := len(slices.DeleteFunc(heardBy("first"), func(other string) bool { return other != text })); n != 1 {
				t.Errorf("%s is told %d times", text, n)
			}
		}
	})
}
