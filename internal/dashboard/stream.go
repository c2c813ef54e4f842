package dashboard

import (
	"context"
	"net/http"
	"time"
)

// writeTimeout is how long a viewer may take to read an event.
const writeTimeout = 5 * time.Second

// serveEvents tells a viewer what changes on a page, until one of the three ends: the hub, the viewer,
// or its patience.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	v, err := s.hub.join(s.topic(r), cancel)
	if err != nil {
		failed(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	defer s.hub.leave(v)

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // or those that were let go would stay, idle
	}
	rc := http.NewResponseController(w)
	// a write that waits for a slow viewer must not outlive the hub
	isUnblocked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(isUnblocked)
		rc.SetWriteDeadline(time.Now().Add(interval / 4))
	})
	isBroken := stream(ctx, w, rc, v)
	if !stop() {
		<-isUnblocked
	}
	if !isBroken {
		rc.SetWriteDeadline(time.Time{}) // the connection may be used again
	}
}

// stream writes events until the context ends, or somebody does not read them, which it tells. Where
// there are no deadlines, the viewer is let go once its buffer is full.
func stream(ctx context.Context, w http.ResponseWriter, rc *http.ResponseController, v *viewer) (isBroken bool) {
	next := []byte("retry: 1000\n\n")
	for {
		rc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write(next); err != nil {
			return true
		}
		if err := rc.Flush(); err != nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case next = <-v.events:
		}
	}
}
