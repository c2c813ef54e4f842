package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/certs"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// Target is the upstream to look at.
type Target struct {
	diagnose.Upstream // its address, and how it is spoken to

	// Whether its certificate is checked. For a target that does not speak HTTPS: whether it
	// would be if its address began with "https://".
	Verify bool
}

// Step is one thing that a probe has tried.
type Step struct {
	Name         string `json:"step"`   // "resolve", "connect", "tls checked", …
	OK           bool   `json:"ok"`     // whether it worked
	Detail       string `json:"detail"` // what it has found, or what went wrong
	Milliseconds int64  `json:"ms"`     // that it took

	Certificate *certs.Description `json:"-"` // to show below it; nil for none
}

// Prober looks at one upstream, step by step. It is made for one run.
type Prober struct {
	Target   Target
	Timeout  time.Duration                         // for all steps together
	Resolver *net.Resolver                         // nil: the system's
	Roots    *x509.CertPool                        // nil: the system's
	Proxy    func(*http.Request) (*url.URL, error) // nil: that of the environment, as in Caddy
	Show     func(Step)                            // called as each step ends, in the goroutine of Run; nil: nobody is told

	network string // "tcp", "tcp4", "unix", …
	host    string // placeholders replaced
	port    string
	target  string                // what connections are made to, once one was made
	proxies map[string]*forwarder // by scheme; nil for no proxy
	asked   *atomic.Bool          // whether the server has asked for a client certificate
}

// Findings are what a probe has found.
type Findings struct {
	// The certificate that the server has shown; nil if there was no TLS handshake.
	Certificate *certs.Description

	target    Target
	lookup    error
	proxy     error
	connect   error
	asked     bool // the server asks for a client certificate
	verified  trial
	handshake trial  // with no matter what certificate
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

// Run takes all steps and returns what they have found. What fails is a finding, too. It ends
// when the timeout is over, or ctx is done.
func (p *Prober) Run(ctx context.Context) Findings {
	f := Findings{target: p.Target}
	p.asked = new(atomic.Bool)
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()

	if err := diagnose.FindEmptyPlaceholder(p.Target.Address); err != nil {
		f.lookup = err
		p.show(Step{Name: "resolve", Detail: inShort(err)})
		return f
	}
	if err := diagnose.FindSchemeInValue(p.Target.Address); err != nil {
		f.lookup = err
		p.show(Step{Name: "resolve", Detail: inShort(err)})
		return f
	}
	dial, err := caddy.ParseNetworkAddress(caddy.NewReplacer().ReplaceKnown(p.Target.Address.Dial(), ""))
	if err == nil && strings.Contains(dial.String(), "{") {
		err = errors.New("a placeholder has no value here; write the address that it stands for")
	}
	if err != nil {
		f.lookup = err
		p.show(Step{Name: "resolve", Detail: err.Error()})
		return f
	}
	p.network, p.host, p.port = dial.Network, dial.Host, fmt.Sprint(dial.StartPort)
	if f.proxy = p.findForwarders(); f.proxy != nil {
		p.show(Step{Name: "proxy", Detail: inShort(f.proxy)})
		return f
	}
	if through := p.forwarderOfTarget(); through != nil {
		p.target = net.JoinHostPort(p.host, p.port)
		if f.proxy = p.tryForwarder(ctx, through); f.proxy != nil {
			return f
		}
	} else if dial.IsUnixNetwork() {
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

// show tells of a step that has ended.
func (p *Prober) show(s Step) {
	if p.Show != nil {
		p.Show(s)
	}
}

// inShort is an error as a step shows it.
func inShort(err error) string {
	if failed, ok := errors.AsType[*diagnose.ProxyError](err); ok && diagnose.Of(failed.Err) == diagnose.Timeout {
		return diagnose.ProxyName(failed.Proxy, failed.Variable) + ": no answer in time"
	}
	if diagnose.Of(err) == diagnose.Timeout {
		return "no answer in time"
	}
	return printable.Short(err.Error())
}

// within returns what a function returns, or the error of the context if that is done first. It
// is for what cannot be interrupted, such as checking a chain of certificates.
func within[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}

// took returns the milliseconds since a time.
func took(since time.Time) int64 { return time.Since(since).Milliseconds() }

// tryCleartext tries plain HTTP, and HTTP/2 cleartext where that is asked for or plain
// HTTP fails. It returns a function that shows the steps it has taken.
func (p *Prober) tryCleartext(ctx context.Context, f *Findings) (show func()) {
	var steps []Step
	quiet := *p
	quiet.Show = func(s Step) { steps = append(steps, s) }
	f.plain = quiet.request(ctx, "plain http", address.HTTP)
	if p.Target.Scheme == address.H2C || f.plain.err != nil && ctx.Err() == nil {
		f.h2c = quiet.request(ctx, "h2c", address.H2C)
	}
	return func() {
		for _, s := range steps {
			p.show(s)
		}
	}
}
