package proxyos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/proxyos/caddy-proxyos/internal/dashboard"
)

// keptHistories holds what dashboards remember of the last minutes, while a config has one.
var keptHistories = caddy.NewUsagePool()

// historyKey is the only key in keptHistories.
const historyKey = "history"

// keptHistory is a history in keptHistories.
type keptHistory struct{ *dashboard.History }

// Destruct implements caddy.Destructor.
func (keptHistory) Destruct() error { return nil }

// dashboards returns what the dashboards of the config show. The first that asks makes it. Its streams end as a
// server begins to shut down, which would wait for them.
func (a *App) dashboards(server *caddyhttp.Server) *dashboard.Hub {
	a.boarding.Do(func() {
		kept, _ := keptHistories.LoadOrStore(historyKey, keptHistory{dashboard.NewHistory()})
		a.hub = dashboard.NewHub(routesOf{a}, kept.(keptHistory).History)
	})
	if server != nil {
		server.RegisterOnShutdown(a.hub.End)
	}
	return a.hub
}

// routesOf is the routes of an app, as a dashboard sees and steers them.
type routesOf struct{ app *App }

// errLoading says that a server runs before the app, as Caddy may have it.
var errLoading = errors.New("the config is being loaded")

// Snapshot implements dashboard.Source.
func (s routesOf) Snapshot(context.Context) (*dashboard.Snapshot, error) {
	if !s.app.hasStarted.Load() {
		return nil, errLoading
	}
	return s.app.snapshot(), nil
}

// Do implements dashboard.Source: it does what the admin API does, without going there.
func (routesOf) Do(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "/proxyos/routes/"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.RemoteAddr = "dashboard:0" // who makes the change is in the body
	w := &memoryWriter{header: make(http.Header), status: http.StatusOK}
	if err := new(adminAPI).serveRoute(w, req); err != nil {
		status := http.StatusInternalServerError
		if known, ok := errors.AsType[caddy.APIError](err); ok {
			status, err = known.HTTPStatus, known.Err
		}
		text, err := json.Marshal(map[string]string{"error": err.Error()})
		return status, text, err
	}
	return w.status, w.body.Bytes(), nil
}

// memoryWriter keeps an answer.
type memoryWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *memoryWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *memoryWriter) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *memoryWriter) Write(p []byte) (int, error) { return w.body.Write(p) }

// Interface guards
var (
	_ dashboard.Source    = routesOf{}
	_ http.ResponseWriter = (*memoryWriter)(nil)
)
