package proxyos

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// serve decides which group a request goes to, and proxies it.
func (r *route) serve(w http.ResponseWriter, req *http.Request, next caddyhttp.Handler) (err error) {
	d := r.decide(req)
	if r.express != nil && isPlain(req) {
		return r.express.serve(w, req, next, d)
	}
	j := new(journey)
	j.begin(r, w, req, d)
	defer func() { j.finish(req.Context(), err) }()
	return r.throughProxy(j, req, next)
}

// throughProxy has the reverse proxy make a journey, or what is left of it.
func (r *route) throughProxy(j *journey, req *http.Request, next caddyhttp.Handler) error {
	ctx := context.WithValue(req.Context(), journeyKey{}, j)
	if j.handed != nil {
		defer j.setDuration() // of which the reverse proxy has not seen the beginning
	}
	callers := req
	req = req.WithContext(ctx)
	if req.Body != nil && (req.Body != http.NoBody || req.ContentLength > 0) {
		j.body.takeOver(callers) // for whoever answers instead, while an attempt may still be reading
		j.body.giveTo(req)
		j.answer.body = &j.body
		j.body.buffered = r.proxy.RequestBuffers != 0 && !caddyhttp.IsIncremental(req.Header)
		j.body.asItIs.Store(r.transport == nil)
		defer j.body.asItIs.Store(true)
	}
	if r.handsOn {
		later := next
		next = caddyhttp.HandlerFunc(func(w http.ResponseWriter, req *http.Request) error {
			j.handOn(req.Context())
			return later.ServeHTTP(w, req)
		})
	}
	if j.body.duplex && j.body.proto == 1 {
		defer func() {
			if !j.answer.reckoning.isBack { // it panics, to break the answer off
				j.body.cutOff(j.answer.ResponseWriter)
			}
		}()
	}
	return j.outcomeOf(r.proxy.ServeHTTP(&j.answer, req, next))
}

// decision is what is decided about a request once. Retries keep it.
type decision struct {
	toStaging bool
	cookie    string        // to set with the answer; empty if none is
	round     *releaseRound // of the release in which the request counts; nil if it does not
}

// decide decides whether a request is for staging.
func (r *route) decide(req *http.Request) decision {
	if r.staging == nil {
		return decision{}
	}
	forced, toStaging, err := r.forced.decide(req)
	if err != nil {
		r.forced.failures.note(err)
	}
	if forced {
		return decision{toStaging: toStaging}
	}
	if r.isNew && r.name != "" {
		r.steering.await()
	}
	round := r.state.release.Load() // first, since a round begins after its share is in force
	if r.cohorts != nil {
		share := r.split.current()
		if position, cookie, ok := r.cohorts.position(req, share); ok {
			return decision{share.covers(position), cookie, round}
		}
	}
	return decision{toStaging: r.split.toStaging(), round: round}
}
