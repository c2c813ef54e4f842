package proxyos

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// connectGrace is how long the other addresses of a name are waited for once one of them
// has connected.
const connectGrace = 300 * time.Millisecond

// step is one thing that a probe has tried.
type step struct {
	Name         string `json:"step"`
	OK           bool   `json:"ok"`
	Detail       string `json:"detail"`
	Milliseconds int64  `json:"ms"`

	certificate *certs.Description // to show below it
}

// prober looks at one upstream, step by step.
type prober struct {
	backend  backend
	timeout  time.Duration  // for all steps together
	resolver *net.Resolver  // nil: the system's
	roots    *x509.CertPool // nil: the system's
	show     func(step)     // called as each step ends

	network string // "tcp", "tcp4", "unix", …
	host    string // placeholders replaced
	port    string
	target  string       // what connections are made to, once one has been
	asked   *atomic.Bool // whether the server has asked for a client certificate
}

// findings are what a probe has found.
type findings struct {
	backend   backend
	lookup    error
	connect   error
	asked     bool // the server asks for a client certificate
	verified  trial
	handshake trial // with no matter what certificate
	chain     []*x509.Certificate
	cert      *certs.Description
	otherName string // a name by which the certificate would pass the check, if its host does not
	https     trial
	plain     trial
	h2c       trial
}

// trial is one way of speaking to an upstream, if it has been tried.
type trial struct {
	made   bool
	err    error
	answer *answer // of a request
}

// worked tells whether there was an answer that is no refusal.
func (t trial) worked() bool {
	return t.made && t.err == nil && (t.answer == nil || t.answer.refusal == diagnose.Unknown)
}

// cause tells why the trial did not work.
func (t trial) cause() diagnose.Cause {
	if t.err == nil && t.answer != nil {
		return t.answer.refusal
	}
	return diagnose.Of(t.err)
}

// run takes all steps and returns what they have found.
func (p *prober) run(ctx context.Context) findings {
	f := findings{backend: p.backend}
	p.asked = new(atomic.Bool)
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()

	dial, err := caddy.ParseNetworkAddress(caddy.NewReplacer().ReplaceKnown(p.backend.dial, ""))
	if err == nil && strings.Contains(dial.String(), "{") {
		err = errors.New("a placeholder has no value here; write the address that it stands for")
	}
	if err != nil {
		f.lookup = err
		p.show(step{Name: "resolve", Detail: err.Error()})
		return f
	}
	p.network, p.host, p.port = dial.Network, dial.Host, fmt.Sprint(dial.StartPort)
	if dial.IsUnixNetwork() {
		f.connect = p.connect(ctx, []string{p.host})
	} else {
		var targets []string
		if targets, f.lookup = p.resolve(ctx); f.lookup != nil {
			return f
		}
		f.connect = p.connect(ctx, targets)
	}
	if f.connect != nil {
		return f
	}

	// in parallel, so that a server that hangs at one leaves time for the other
	cleartext := make(chan func())
	go func() { cleartext <- p.tryCleartext(ctx, &f) }()
	p.trySecure(ctx, &f)
	(<-cleartext)()
	return f
}

// inShort is an error as a step shows it.
func inShort(err error) string {
	if diagnose.Of(err) == diagnose.Timeout {
		return "no answer in time"
	}
	return err.Error()
}

// took returns the milliseconds since a time.
func took(since time.Time) int64 { return time.Since(since).Milliseconds() }

// resolve looks up the addresses of the upstream's host.
func (p *prober) resolve(ctx context.Context) ([]string, error) {
	host := p.host
	if host == "" {
		host = "localhost"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{net.JoinHostPort(host, p.port)}, nil
	}
	start := time.Now()
	network := "ip" + strings.TrimLeft(p.network, "tcpud")
	addresses, err := p.resolver.LookupNetIP(ctx, network, host)
	if err != nil {
		p.show(step{Name: "resolve", Detail: err.Error(), Milliseconds: took(start)})
		return nil, err
	}
	var found, targets []string
	for _, address := range addresses {
		found = append(found, address.Unmap().String())
		targets = append(targets, net.JoinHostPort(address.Unmap().String(), p.port))
	}
	p.show(step{Name: "resolve", OK: true, Detail: strings.Join(found, ", "), Milliseconds: took(start)})
	return targets, nil
}

// connect connects to all addresses at once, and settles on the first that works.
func (p *prober) connect(ctx context.Context, targets []string) error {
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		index int
		err   error
	}
	outcomes := make(chan outcome, len(targets))
	for i, target := range targets {
		go func() {
			conn, err := new(net.Dialer).DialContext(ctx, p.network, target)
			if err == nil {
				_ = conn.Close()
			}
			outcomes <- outcome{i, err}
		}()
	}
	errs := make([]error, len(targets))
	connected := false
	for range targets {
		o := <-outcomes
		errs[o.index] = o.err
		if o.err == nil && !connected {
			connected = true
			time.AfterFunc(connectGrace, cancel)
		}
	}

	var details []string
	for i, target := range targets {
		switch err := errs[i]; {
		case err == nil:
			details = append(details, target)
			if p.target == "" {
				p.target = target
			}
		case connected && errors.Is(err, context.Canceled):
			details = append(details, target+" has not answered so far")
		default:
			details = append(details, err.Error())
		}
	}
	p.show(step{Name: "connect", OK: connected, Detail: strings.Join(details, "; "), Milliseconds: took(start)})
	if connected {
		return nil
	}
	return errs[0]
}

// dial opens a connection to the address that has worked.
func (p *prober) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, p.network, p.target)
}

// tryCleartext tries plain HTTP, and HTTP/2 cleartext where that is asked for or plain
// HTTP fails. It returns a function that shows the steps it has taken.
func (p *prober) tryCleartext(ctx context.Context, f *findings) (show func()) {
	var steps []step
	quiet := *p
	quiet.show = func(s step) { steps = append(steps, s) }
	f.plain = quiet.request(ctx, "plain http", address.HTTP)
	if p.backend.scheme == address.H2C || f.plain.err != nil && ctx.Err() == nil {
		f.h2c = quiet.request(ctx, "h2c", address.H2C)
	}
	return func() {
		for _, s := range steps {
			p.show(s)
		}
	}
}
