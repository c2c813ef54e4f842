package proxyos

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// serve decides which group a request goes to, and proxies it.
func (r *route) serve(w http.ResponseWriter, req *http.Request, next caddyhttp.Handler) (err error) {
	toStaging, err := r.decide(w, req)
	if err != nil {
		return err
	}
	j := newJourney(r, w, req, toStaging)
	defer func() { j.finish(err) }()
	return r.proxy.ServeHTTP(&j.answer, req.WithContext(context.WithValue(req.Context(), journeyKey{}, j)), next)
}

// decide tells whether a request is for staging. Retries keep the answer.
func (r *route) decide(w http.ResponseWriter, req *http.Request) (toStaging bool, err error) {
	if r.staging == nil {
		return false, nil
	}
	if forced, toStaging, err := r.forced.decide(req); forced || err != nil {
		return toStaging, err
	}
	if r.isNew && r.name != "" {
		r.steering.await()
	}
	if r.cohorts != nil {
		share := r.split.current()
		if position, ok := r.cohorts.position(w, req, share); ok {
			return share.covers(position), nil
		}
	}
	return r.split.toStaging(), nil
}
