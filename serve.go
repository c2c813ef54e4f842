package proxyos

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// serve decides which group a request goes to, and proxies it.
func (r *route) serve(w http.ResponseWriter, req *http.Request, next caddyhttp.Handler) (err error) {
	j := newJourney(r, w, req, r.decide(w, req))
	defer func() { j.finish(err) }()
	return r.proxy.ServeHTTP(&j.answer, req.WithContext(context.WithValue(req.Context(), journeyKey{}, j)), next)
}

// decide tells whether a request is for staging. Retries keep the answer.
func (r *route) decide(w http.ResponseWriter, req *http.Request) (toStaging bool) {
	if r.staging == nil {
		return false
	}
	forced, toStaging, err := r.forced.decide(req)
	if err != nil {
		r.forced.failures.note(err)
	}
	if forced {
		return toStaging
	}
	if r.isNew && r.name != "" {
		r.steering.await()
	}
	if r.cohorts != nil {
		share := r.split.current()
		if position, ok := r.cohorts.position(w, req, share); ok {
			return share.covers(position)
		}
	}
	return r.split.toStaging()
}
