package proxyos

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// maxServerNames is for how many server names of one lane connections are kept.
const maxServerNames = 64

// serverNames keeps the connections of a lane apart whose server name is a placeholder: one
// that was made and verified for one name must not serve a request for another. Names may
// come from clients, so connections are kept only for so many at a time.
type serverNames struct {
	placeholder string
	idle        time.Duration // how long a connection is kept

	mu   sync.Mutex
	used map[string]time.Time // when each name was last used
}

// newServerNames returns nil if the name is the same for all requests.
func newServerNames(config *reverseproxy.HTTPTransport) *serverNames {
	if config.TLS == nil || !strings.Contains(config.TLS.ServerName, "{") {
		return nil
	}
	return &serverNames{placeholder: config.TLS.ServerName, idle: time.Duration(config.KeepAlive.IdleConnTimeout), used: make(map[string]time.Time)}
}

// direct puts the name into what net/http tells connections by: the host of the URL, which
// is neither dialled, since the address is in the context, nor sent, since the request has a
// Host. Caddy does the same for the PROXY protocol.
func (n *serverNames) direct(req *http.Request) {
	repl := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	name := repl.ReplaceAll(n.placeholder, "")
	if req.Host == "" {
		req.Host = req.URL.Host
	}
	req.URL.Host = url.QueryEscape(name + "->" + req.URL.Host)
	req.Close = !n.keeps(name)
}

// keeps notes that a name is used, and tells whether connections are kept for it.
func (n *serverNames) keeps(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if _, known := n.used[name]; !known && len(n.used) >= maxServerNames {
		// those that have not been used for so long have no connections left
		maps.DeleteFunc(n.used, func(_ string, last time.Time) bool { return now.Sub(last) > n.idle })
		if len(n.used) >= maxServerNames {
			return false
		}
	}
	n.used[name] = now
	return true
}
