package proxyos

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/probe"
)

const (
	// adminProbeTime is how long the admin API looks at an upstream.
	adminProbeTime = 5 * time.Second

	// maxProbes is how many upstreams it looks at at the same time.
	maxProbes = 4
)

// probing has room for an upstream that the admin API may look at.
var probing = make(chan struct{}, maxProbes)

// probeAnswer is what a look at an upstream has found.
type probeAnswer struct {
	Steps     []probe.Step `json:"steps"`
	Works     bool         `json:"works"`
	Verdict   string       `json:"verdict"`
	Caddyfile string       `json:"caddyfile,omitempty"` // what to write
}

// serveProbe looks at a configured upstream of a route, and at nothing else.
func (*adminAPI) serveProbe(w http.ResponseWriter, r *http.Request, route *route, named string) error {
	if r.Method != http.MethodPost {
		return methodNotAllowed(w, r, http.MethodPost)
	}
	for _, g := range route.groups {
		for _, t := range g.targets {
			if !t.backend.isNamed(named) {
				continue
			}
			select {
			case probing <- struct{}{}:
				defer func() { <-probing }()
			default:
				return caddy.APIError{HTTPStatus: http.StatusTooManyRequests, Err: fmt.Errorf("%d upstreams are being looked at already; try again in a moment", maxProbes)}
			}
			return respond(w, t.backend.lookAt(r))
		}
	}
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("route %q has no upstream %q", route.name, named)}
}

// lookAt probes the backend as it is configured.
func (b backend) lookAt(r *http.Request) probeAnswer {
	answer := probeAnswer{Steps: []probe.Step{}}
	p := &probe.Prober{
		Target:  probe.Target{Upstream: b.diagnosed(), Verify: b.verify},
		Timeout: adminProbeTime,
		Show:    func(s probe.Step) { answer.Steps = append(answer.Steps, s) },
	}
	found := p.Run(r.Context())
	v := found.Judge()
	answer.Works, answer.Verdict, answer.Caddyfile = v.Works, v.Text, v.Caddyfile
	return answer
}

// serveDashboard tells what a dashboard shows, for one in another process.
func (*adminAPI) serveDashboard(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return methodNotAllowed(w, r, http.MethodGet)
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	return respond(w, app.snapshot())
}
