package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	groupHeader = "Bench-Group"
	eventCount  = 10
)

// newAppServer returns a server that does what applications do: answers, echoes, streams, sockets.
func newAppServer(group string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /small", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "ok")
	})
	large := strings.Repeat("x", largeSize)
	mux.HandleFunc("GET /large", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, large)
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // all of it first: HTTP/1.1 goes one way at a time
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = w.Write(body)
	})
	mux.HandleFunc("GET /events", streamEvents)
	mux.HandleFunc("GET /socket", func(w http.ResponseWriter, _ *http.Request) { echoSocket(w, group) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(groupHeader, group)
		mux.ServeHTTP(w, r)
	})
}

func streamEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range eventCount {
		fmt.Fprintf(w, "data: %d\n\n", i)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

// echoSocket answers a WebSocket handshake, then sends back whatever it gets. The proxy does not
// look into the frames.
func echoSocket(w http.ResponseWriter, group string) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s: %s\r\n\r\n", groupHeader, group)
	if buffered.Flush() == nil {
		_, _ = io.Copy(conn, buffered)
	}
}
