package proxytest

import (
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// NameServer is a DNS server that counts the questions for each name's IPv4 address.
type NameServer struct {
	Addr string

	mu        sync.Mutex
	records   []dns.RR
	questions map[string]int
}

// NewNameServer starts a DNS server with records in zone file format. Other names do not
// exist.
func NewNameServer(t testing.TB, records ...string) *NameServer {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &NameServer{Addr: packets.LocalAddr().String(), questions: make(map[string]int)}
	n.Set(t, records...)
	server := &dns.Server{PacketConn: packets, Handler: n}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = server.Shutdown()
		_ = packets.Close() // where it has not begun to serve
	})
	return n
}

// Set replaces the records.
func (n *NameServer) Set(t testing.TB, records ...string) {
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

// Asked returns how often the IPv4 address of a name has been asked for.
func (n *NameServer) Asked(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.questions[dns.Fqdn(name)]
}

// ServeDNS answers with the records of the name and type.
func (n *NameServer) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	question := query.Question[0]
	n.mu.Lock()
	if question.Qtype == dns.TypeA {
		n.questions[question.Name]++
	}
	exists := false
	for _, record := range n.records {
		header := record.Header()
		exists = exists || header.Name == question.Name
		if header.Name == question.Name && header.Rrtype == question.Qtype {
			reply.Answer = append(reply.Answer, record)
		}
	}
	n.mu.Unlock()
	if !exists {
		reply.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(reply)
}
