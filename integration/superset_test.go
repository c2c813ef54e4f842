package integration

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// bothForms runs a test twice: with directives as a Caddyfile, and with the JSON that
// their first proxyos handler adapts to.
func bothForms(t *testing.T, directives string, test func(*testing.T, *server)) {
	t.Helper()
	t.Run("Caddyfile", func(t *testing.T) { test(t, run(t, directives)) })
	t.Run("JSON", func(t *testing.T) {
		s := newServer(t)
		handler := handlerOf(t, adapt(t, s.site(directives)))
		if err := s.loadJSON(s.routes(handler)); err != nil {
			t.Fatalf("loading %s: %v", handler, err)
		}
		test(t, s)
	})
}

// runQuietly is run without debug logs, for tests with very many requests.
func runQuietly(t testing.TB, directives string) *server {
	t.Helper()
	s := newServer(t)
	s.mustLoad("{\nlog {\nlevel ERROR\n}\n}\n" + s.site(directives))
	return s
}

// refuses loads directives, wants that refused, and wants the error to say something.
func refuses(t *testing.T, directives string, saying ...string) {
	t.Helper()
	t.Run("refused", func(t *testing.T) {
		s := newServer(t)
		err := s.load(s.site(directives))
		if err == nil {
			t.Fatalf("%s\nis not refused", directives)
		}
		for _, part := range saying {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error %q does not say %q", err, part)
			}
		}
	})
}

// answer is what a client got.
type answer struct {
	*http.Response
	body string
}

// do sends a request and reads the answer.
func (s *server) do(req *http.Request) answer {
	s.t.Helper()
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return answer{res, string(body)}
}

// request returns a request to the server, with header fields given as name, value, ….
func (s *server) request(method, path string, body io.Reader, fields ...string) *http.Request {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			req.Host = fields[i+1]
			continue
		}
		req.Header.Add(fields[i], fields[i+1])
	}
	return req
}

// crowd sends requests from several clients at once and returns how many were not
// answered with 200.
func (s *server) crowd(clients, requests int, newRequest func() *http.Request) (failed int) {
	s.t.Helper()
	var left, bad atomic.Int64
	left.Store(int64(requests))
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				res, err := s.client.Do(newRequest())
				if err != nil {
					bad.Add(1)
					continue
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
					bad.Add(1)
				}
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	return int(bad.Load())
}

// nameServer is a DNS server that counts the questions for each name's IPv4 address.
type nameServer struct {
	addr string

	mu        sync.Mutex
	records   []dns.RR
	questions map[string]int
}

// newNameServer starts a DNS server with records in zone file format.
func newNameServer(t testing.TB, records ...string) *nameServer {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{addr: packets.LocalAddr().String(), questions: make(map[string]int)}
	n.set(t, records...)
	server := &dns.Server{PacketConn: packets, Handler: n}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	return n
}

// set replaces the records.
func (n *nameServer) set(t testing.TB, records ...string) {
	t.Helper()
	var parsed []dns.RR
	for _, record := range records {
		rr, err := dns.NewRR(record)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, rr)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = parsed
}

// asked returns how often the IPv4 address of a name has been asked for.
func (n *nameServer) asked(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.questions[name+"."]
}

// ServeDNS answers with the records of the name and type.
func (n *nameServer) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	question := query.Question[0]
	n.mu.Lock()
	if question.Qtype == dns.TypeA {
		n.questions[question.Name]++
	}
	for _, record := range n.records {
		if header := record.Header(); header.Name == question.Name && header.Rrtype == question.Qtype {
			reply.Answer = append(reply.Answer, record)
		}
	}
	n.mu.Unlock()
	w.WriteMsg(reply)
}

// cutter accepts connections and closes each once it has read a request's header, and
// counts them.
type cutter struct {
	addr string
	cuts atomic.Int64
}

func newCutter(t testing.TB) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	c := &cutter{addr: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			reader := bufio.NewReader(conn)
			for line, err := reader.ReadBytes('\n'); err == nil && len(bytes.TrimSpace(line)) > 0; {
				line, err = reader.ReadBytes('\n')
			}
			c.cuts.Add(1)
			conn.Close()
		}
	}()
	return c
}
