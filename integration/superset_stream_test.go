//lint:file-ignore SA1019 net/http's own transport does not send the :protocol of an extended CONNECT

package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

func TestWebSocketsGoThroughEachKindOfUpstream(t *testing.T) {
	lab.ThroughEachKind(t, func(t *testing.T, s *server, b *backend) {
		b.Answer(websocket.Handler(func(conn *websocket.Conn) { io.Copy(conn, conn) }).ServeHTTP)
		conn, err := websocket.Dial("ws://"+s.Addr+"/", "", s.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, message := range []string{"hello", strings.Repeat("long ", 20_000)} {
			if _, err := io.WriteString(conn, message); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(message))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != message {
				t.Fatalf("the echo of %d bytes: %v", len(message), err)
			}
		}
	})
}

func TestWebSocketsGoThroughOverHTTP2ExtendedConnect(t *testing.T) {
	t.Setenv("GODEBUG", "http2xconnect=1") // for the child, whose HTTP/2 server has it off by default
	app := plain(t, "app", "")
	app.Answer(websocket.Handler(func(conn *websocket.Conn) { io.Copy(conn, conn) }).ServeHTTP)
	c := newChild(t)
	c.Write(adapt(t, "{\nservers {\nprotocols h1 h2c\n}\n}\n"+c.Site("proxyos "+app.Addr)))
	c.Start()

	body, toServer := io.Pipe()
	req := c.Request("CONNECT", "/", body, ":protocol", "websocket", "Sec-WebSocket-Version", "13", "Origin", c.URL)
	client := cleartextHTTP2()
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the extended CONNECT is answered with %d, want 200", res.StatusCode)
	}
	go toServer.Write([]byte{0x81, 0x85, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'}) // a text frame, masked with zeros
	frame := make([]byte, 7)
	if _, err := io.ReadFull(res.Body, frame); err != nil || string(frame[2:]) != "hello" {
		t.Errorf("the echo is %q, %v", frame, err)
	}
	toServer.Close()
}

// cleartextHTTP2 returns a client that speaks HTTP/2 without TLS.
func cleartextHTTP2() *http.Client {
	dial := func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	//lint:ignore SA1019 the transport of net/http refuses the field :protocol, which makes a CONNECT an extended one
	return &http.Client{Transport: &http2.Transport{AllowHTTP: true, DialTLSContext: dial}}
}

func TestServerSentEventsArriveAsTheyAreSent(t *testing.T) {
	lab.ThroughEachKind(t, func(t *testing.T, s *server, b *backend) {
		received := make(chan struct{})
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 5 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				http.NewResponseController(w).Flush()
				select {
				case <-received: // the next one is sent when this one has arrived
				case <-r.Context().Done():
					return
				}
			}
		})
		res, err := s.Client.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		for i := range 5 {
			for lines.Scan() && lines.Text() == "" {
			}
			if want := fmt.Sprint("data: ", i); lines.Text() != want {
				t.Fatalf("got %q, want %q", lines.Text(), want)
			}
			received <- struct{}{}
		}
	})
}

// In the long tests it is a gibibyte. Even the least is twice the memory that is allowed.
func TestLargeBodiesGoUpAndDownInBoundedMemory(t *testing.T) {
	const bound = 64 << 20
	size := int64(lab.Sized(1<<27, 1<<30, 1<<27))
	for _, kind := range lab.AllKinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			kind.Backend.Answer(func(w http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				w.Header().Set("Received", fmt.Sprint(n, err))
				if r.Method == "GET" {
					io.CopyN(w, zeros{}, size)
				}
			})
			s := lab.RunQuietly(t, "proxyos {\n"+kind.Option+"\n}")
			peak := watchHeap(t)
			if res := s.Do(s.Request("POST", "/", io.LimitReader(zeros{}, size))); res.Header.Get("Received") != fmt.Sprint(size, nil) {
				t.Errorf("the upload is answered with %d; the upstream has received %s", res.StatusCode, res.Header.Get("Received"))
			}
			res, err := s.Client.Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
				t.Errorf("received %d bytes of the download, %v", n, err)
			}
			if got := peak(); got > bound {
				t.Errorf("the heap has grown by %d MiB, want at most %d", got>>20, bound>>20)
			}
		})
	}
}

// zeros is an endless stream.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// watchHeap returns a function that tells by how much the heap has grown at most.
func watchHeap(t testing.TB) (peak func() uint64) {
	percent := debug.SetGCPercent(10) // what is garbage must not count, however large the heap is
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	runtime.GC()
	inUse := func() uint64 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before, highest := inUse(), atomic.Uint64{}
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				highest.Store(max(highest.Load(), inUse()))
			case <-done:
				return
			}
		}
	}()
	return func() uint64 { return max(highest.Load(), inUse(), before) - before }
}

func TestTrailersGoBothWaysThroughEachKindOfUpstream(t *testing.T) {
	lab.ThroughEachKind(t, func(t *testing.T, s *server, b *backend) {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Checksum, Request-Checksum, Length")
			body, _ := io.ReadAll(r.Body)
			w.Write(bytes.ToUpper(body))
			http.NewResponseController(w).Flush() // else Go's HTTP/2 server sets a Content-Length, and Caddy keeps it
			w.Header().Set("Checksum", "of the response")
			w.Header().Set("Request-Checksum", r.Trailer.Get("Checksum"))
			w.Header().Set("Length", fmt.Sprint(r.ContentLength))
		})
		// a reader of no known type: the body is sent in chunks
		req := s.Request("POST", "/", io.MultiReader(strings.NewReader("one "), strings.NewReader("two")))
		req.Trailer = http.Header{"Checksum": {"of the request"}}
		got := s.Do(req)
		if got.Body != "ONE TWO" {
			t.Errorf("the body is %q", got.Body)
		}
		for name, want := range map[string]string{"Checksum": "of the response", "Request-Checksum": "of the request", "Length": "-1"} {
			if value := got.Trailer.Get(name); value != want {
				t.Errorf("trailer %s: %q, want %q", name, value, want)
			}
		}
	})
}

func TestGRPCGoesThroughEachKindOfUpstreamThatSpeaksHTTP2(t *testing.T) {
	kinds := lab.AllKinds(t)
	socket := kinds[4].Backend // speaks HTTP/2 as well, from here on
	socket.Stop()
	socket.Protocols.SetUnencryptedHTTP2(true)
	socket.Start()
	kinds[4].Option = "upstream unix+h2c/" + socket.Addr
	for _, kind := range kinds[1:] {
		t.Run(kind.Name, func(t *testing.T) {
			service := grpc.NewServer()
			checks := health.NewServer()
			grpc_health_v1.RegisterHealthServer(service, checks)
			kind.Backend.Answer(service.ServeHTTP)
			s := newServer(t)
			s.MustLoad("{\nservers {\nprotocols h1 h2c\n}\n}\n" + s.Site("proxyos {\n"+kind.Option+"\n}"))

			conn, err := grpc.NewClient(s.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			client := grpc_health_v1.NewHealthClient(conn)
			var trailer metadata.MD
			if got, err := client.Check(ctx, new(grpc_health_v1.HealthCheckRequest), grpc.Trailer(&trailer)); err != nil || got.Status != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Fatalf("the unary call: %v, %v", got, err)
			}
			if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
				t.Errorf("the status of a failed call, which is a trailer: %v, want NotFound", err)
			}
			watch, err := client.Watch(ctx, new(grpc_health_v1.HealthCheckRequest))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{1, 2, 1} {
				checks.SetServingStatus("", want)
				if got, err := watch.Recv(); err != nil || got.Status != want {
					t.Fatalf("the stream: %v, %v, want %v", got, err, want)
				}
			}
		})
	}
}
