package steering

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestRefusedAdminRequestsChangeNothing(t *testing.T) {
	s, prod, _ := blueGreen(t, "traffic_split 10")
	s.MustLoad(strings.Replace(s.BlueGreen(prod, prod, "traffic_split 10"), "staging "+prod.Addr, "staging 127.0.0.9:1", 1) +
		"http://" + freeAddr(t) + " {\nproxyos " + prod.Addr + " {\nname single\n}\n}\n")
	s.Split(20)
	large := `{"traffic_split": 30, "by": "` + strings.Repeat("x", 64<<10) + `"}`
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"PATCH", "/proxyos/routes/app", `{"traffic_split": "30"}`, 400},
		{"PATCH", "/proxyos/routes/app", `{"traffic_split": 101}`, 400},
		{"PATCH", "/proxyos/routes/app", `{"traffic_split": -1}`, 400},
		{"PATCH", "/proxyos/routes/app", `{"traffic_split": 30, "weight": 2}`, 400},
		{"PATCH", "/proxyos/routes/app", `{"traffic_split": 30} {}`, 400},
		{"PATCH", "/proxyos/routes/app", `{}`, 400},
		{"PATCH", "/proxyos/routes/app", `30`, 400},
		{"PATCH", "/proxyos/routes/app", ``, 400},
		{"PATCH", "/proxyos/routes/app", `{"traffic_split": 30`, 400},
		{"PATCH", "/proxyos/routes/app", large, 413},
		{"PATCH", "/proxyos/routes/app", `{"traffic_split": 30}` + strings.Repeat(" ", 64<<10), 413},
		{"PATCH", "/proxyos/routes/single", `{"traffic_split": 30}`, 409},
		{"PATCH", "/proxyos/routes/nobody", `{"traffic_split": 30}`, 404},
		{"PATCH", "/proxyos/routes/", `{"traffic_split": 30}`, 404},
		{"PATCH", "/proxyos/routes/app/more", `{"traffic_split": 30}`, 404},
		{"GET", "/proxyos/routes/nobody", "", 404},
		{"DELETE", "/proxyos/routes/nobody/override", "", 404},
		{"PATCH", "/proxyos/routes", `{"traffic_split": 30}`, 405},
		{"DELETE", "/proxyos/routes/app", "", 405},
		{"PUT", "/proxyos/routes/app", `{"traffic_split": 30}`, 405},
		{"POST", "/proxyos/routes/app", `{"traffic_split": 30}`, 405},
		{"GET", "/proxyos/routes/app/override", "", 405},
		{"PATCH", "/proxyos/routes/app/override", `{"traffic_split": 30}`, 405},
	} {
		status, answer := s.Ask(test.method, test.path, test.body)
		what := fmt.Sprintf("%s %s %.40s", test.method, test.path, test.body)
		if status != test.want {
			t.Errorf("%s: %d %s, want %d", what, status, answer, test.want)
		}
		if message, ok := lab.Decode[map[string]any](t, answer)["error"].(string); !ok || message == "" {
			t.Errorf("%s: the answer has no error as Caddy's have: %s", what, answer)
		}
		if r := s.Route(); r.TrafficSplit != 20 || r.ConfiguredSplit != 10 {
			t.Fatalf("%s: now the split is %v %%, configured %v %%", what, r.TrafficSplit, r.ConfiguredSplit)
		}
	}
}

func TestForeignOriginsAndHostsAreRefused(t *testing.T) {
	s, _, _ := blueGreen(t, "traffic_split 10")
	for name, spoil := range map[string]func(*http.Request){
		"a foreign host":   func(r *http.Request) { r.Host = "evil.example" },
		"a foreign origin": func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
		"no-cors":          func(r *http.Request) { r.Header.Set("Sec-Fetch-Mode", "no-cors") },
	} {
		for method, path := range map[string]string{"GET": "/proxyos/routes", "PATCH": "/proxyos/routes/app", "DELETE": "/proxyos/routes/app/override"} {
			req, err := http.NewRequest(method, "http://"+s.Admin+path, strings.NewReader(`{"traffic_split": 30}`))
			if err != nil {
				t.Fatal(err)
			}
			spoil(req)
			res, err := s.Client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s of %s: %s", method, name, res.Status)
			}
		}
		if got := s.Route().TrafficSplit; got != 10 {
			t.Errorf("%s: the split is now %v %%", name, got)
		}
	}
}

func TestWhatTheAdminAPIShows(t *testing.T) {
	prod, stag := untrusted(t, "production", ""), plain(t, "staging", "")
	s := newServer(t)
	s.MustLoad(quiet + s.Site(fmt.Sprintf(`proxyos {
		name app
		upstream https://%s {
			weight 3
			skip_tls_verify
		}
		staging %s
		traffic_split 12.5
	}`, prod.Addr, stag.Addr)) + "http://" + freeAddr(t) + " {\nproxyos " + stag.Addr + "\n}\n")
	s.Tally(8)
	eventually(t, "the requests are counted", func() bool { return s.Route().Groups[production].Requests == 7 })
	r := s.Route()
	if r.Name != "app" || r.TrafficSplit != 12.5 || r.ConfiguredSplit != 12.5 || r.Override != nil || len(r.Groups) != 2 {
		t.Errorf("shown is %+v", r)
	}
	p, q := r.Groups[production], r.Groups[staging]
	if p.Name != "production" || p.Requests != 7 || p.Errors != 0 || p.InFlight != 0 || q.Name != "staging" || q.Requests != 1 {
		t.Errorf("the groups are %+v", r.Groups)
	}
	if u := p.Upstreams[0]; u.Address != "https://"+prod.Addr || u.Dial != prod.Addr || u.Scheme != "https" || u.TLSVerify == nil || *u.TLSVerify ||
		u.Weight != 3 || u.Health != "up" || u.Requests != 7 || u.Errors != 0 || u.InFlight != 0 {
		t.Errorf("production's upstream is %+v", u)
	}
	if u := q.Upstreams[0]; u.Scheme != "http" || u.TLSVerify != nil || u.Weight != 1 {
		t.Errorf("staging's upstream is %+v", u)
	}

	s.Split(25)
	r = s.Route()
	if r.Override == nil || r.Override.TrafficSplit != 25 || r.Override.SetBy != "127.0.0.1" || r.Override.SetAt.IsZero() || r.ConfiguredSplit != 12.5 {
		t.Errorf("after a change, shown is %+v, %+v", r, r.Override)
	}
	s.Ask("PATCH", "/proxyos/routes/app", `{"traffic_split": 26, "by": "ops"}`)
	if r = s.Route(); r.Override.SetBy != "ops" {
		t.Errorf("the change is shown as made by %q", r.Override.SetBy)
	}
	changed := s.Logs.Entries("traffic split changed")
	if len(changed) != 2 || changed[1]["from"] != 25.0 || changed[1]["to"] != 26.0 || changed[1]["by"] != "ops" || changed[1]["route"] != "app" {
		t.Errorf("logged is %v", changed)
	}
	status, answer := s.Ask("DELETE", "/proxyos/routes/app/override", "")
	if r := lab.Decode[route](t, answer); status != http.StatusOK || r.TrafficSplit != 12.5 || r.Override != nil {
		t.Errorf("after a reset: %d %s", status, answer)
	}

	// routes without a name are listed
	_, answer = s.Ask("GET", "/proxyos/routes", "")
	var names []string
	for _, r := range lab.Decode[[]route](t, answer) {
		names = append(names, r.Name)
	}
	if len(names) != 2 || names[0]+names[1] != "app" {
		t.Errorf("listed are the routes %q", names)
	}
}

func TestTwoRoutesWithOneNameAreRefused(t *testing.T) {
	app := plain(t, "app", "")
	s := newServer(t)
	one := "proxyos " + app.Addr + " {\nname app\n}"
	err := s.Load(s.Site(one) + "http://" + freeAddr(t) + " {\n" + strings.Replace(one, "name", "lb_retries 1\nname", 1) + "\n}\n")
	if err == nil || !strings.Contains(err.Error(), `"app"`) || !strings.Contains(err.Error(), "another proxyos route already has it") {
		t.Errorf("loading reports %v", err)
	}
}

func TestWithoutARouteThereIsNothingToSteer(t *testing.T) {
	s := run(t, "respond ok")
	for _, path := range []string{"/proxyos/routes", "/proxyos/routes/app"} {
		if status, answer := s.Ask("GET", path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}

// Over a unix socket, which has no addresses, a change is made by "unix socket".
func TestSteeringOverAUnixSocket(t *testing.T) {
	t.Parallel()
	prod, stag := plain(t, "production", ""), plain(t, "staging", "")
	c, path := newChild(t), proxytest.SocketPath(t)
	config := adapt(t, c.BlueGreen(prod, stag, "traffic_split 10"))
	c.Write(config)
	c.Start()
	moved := strings.Replace(config, "{", `{"admin": {"listen": "unix/`+path+`", "config": {"persist": false}},`, 1)
	if status, answer := c.Ask(http.MethodPost, "/load", moved); status != http.StatusOK {
		t.Fatalf("moving the admin endpoint to a unix socket: %d %s", status, answer)
	}
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	t.Cleanup(socket.CloseIdleConnections)
	request, err := http.NewRequest(http.MethodPatch, "http://localhost/proxyos/routes/app", strings.NewReader(`{"traffic_split": 35}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := socket.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("setting the split: %d %s, %v", response.StatusCode, answer, err)
	}
	if r := lab.Decode[route](t, string(answer)); r.TrafficSplit != 35 || r.Override.SetBy != "unix socket" {
		t.Errorf("the split is %v %%, set by %q", r.TrafficSplit, r.Override.SetBy)
	}
	output, err := c.CLI("proxyos", "show", "app", "--address", "unix/"+path).CombinedOutput()
	if err != nil || !strings.Contains(string(output), "unix socket") {
		t.Errorf("show prints %v:\n%s", err, output)
	}
}
