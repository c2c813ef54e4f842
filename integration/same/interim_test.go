package same

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
)

// interimHeads are the answers with a status of 1xx that a client of HTTP/2 or 3 got.
type interimHeads struct {
	mu    sync.Mutex
	heads []string
}

// watch returns a context for the request whose interim answers are to be kept.
func (h *interimHeads) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.heads = append(h.heads, fmt.Sprint(status), strings.TrimSpace(sortedFields(linesOf(http.Header(header)))))
		return nil
	}})
}

func (h *interimHeads) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.heads...)
}
