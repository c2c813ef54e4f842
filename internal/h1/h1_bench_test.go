package h1

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// both are the two transports that are compared.
func both(settings *http.Transport) map[string]http.RoundTripper {
	return map[string]http.RoundTripper{"h1": New(settings), "http.Transport": settings}
}

func BenchmarkRoundTrip(b *testing.B) {
	listener := proxytest.Listen(b, "")
	proxytest.StartServer(b, listener, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
	})})
	for name, transport := range both(&http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}) {
		for _, size := range []int{0, 1 << 10, 1 << 20} {
			body := strings.Repeat("x", size)
			b.Run(fmt.Sprintf("%s/%d bytes", name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+listener.Addr().String(), nil)
						if size > 0 {
							req.Method, req.Body, req.ContentLength = http.MethodPost, io.NopCloser(struct{ io.Reader }{strings.NewReader(body)}), int64(size)
						}
						if got, err := read(transport.RoundTrip(req)); got != "hello" || err != nil {
							b.Errorf("got %q, %v", got, err)
							return
						}
					}
				})
			})
		}
	}
}

// idleConns is how many idle connections their memory is measured with.
const idleConns = 2048

func TestIdleConnectionsTakeHalfTheMemory(t *testing.T) {
	settings := func() *http.Transport { return &http.Transport{MaxIdleConnsPerHost: idleConns} }
	alone := memoryOfIdle(t, nil)
	theirs, ours := memoryOfIdle(t, settings()), memoryOfIdle(t, New(settings()))
	t.Logf("%d idle connections: %d KiB for http.Transport, %d KiB for h1, besides the %d KiB of the sockets and of the server",
		idleConns, (theirs-alone)>>10, (ours-alone)>>10, alone>>10)
	if (ours-alone)*2 > theirs-alone {
		t.Error("h1 takes more than half the memory of http.Transport")
	}
}

// memoryOfIdle returns how much memory idle connections take, and what the server needs for them.
// Without a transport they are sockets only.
func memoryOfIdle(t *testing.T, transport http.RoundTripper) int64 {
	release := make(chan struct{})
	var asked atomic.Int64
	server := proxytest.NewRawServer(t, func(c net.Conn) {
		var room [512]byte
		_, _ = c.Read(room[:])
		asked.Add(1)
		<-release
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		_, _ = c.Read(room[:])
	})
	before := memory()
	var all sync.WaitGroup
	sockets := make([]net.Conn, idleConns)
	for i := range idleConns {
		if transport == nil {
			var err error
			if sockets[i], err = net.Dial("tcp", server.Addr); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(sockets[i], "hello")
			continue
		}
		all.Go(func() { wants(t, transport, "http://"+server.Addr, "hello") })
	}
	proxytest.Eventually(t, "all requests are there", func() bool { return asked.Load() == idleConns })
	close(release)
	all.Wait()
	taken := memory() - before
	for _, c := range sockets {
		if c != nil {
			_ = c.Close()
		}
	}
	if idle, ok := transport.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections()
	}
	server.Close()
	return taken
}

// memory is how much is in use, stacks included.
func memory() int64 {
	for range 3 { // what is in a sync.Pool goes with the second collection
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc + stats.StackInuse)
}
