package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// connectGrace is how long the other addresses of a name are waited for once one of them
// has connected.
const connectGrace = 300 * time.Millisecond

// maxTargets is how many addresses of a name are tried.
const maxTargets = 16

// resolve looks up the addresses of the upstream's host.
func (p *Prober) resolve(ctx context.Context) ([]string, error) {
	host := p.host
	if host == "" {
		host = "localhost"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{net.JoinHostPort(host, p.port)}, nil
	}
	start := time.Now()
	network := "ip" + strings.TrimLeft(p.network, "tcpud")
	addresses, err := p.Resolver.LookupNetIP(ctx, network, host)
	if err != nil {
		p.show(Step{Name: "resolve", Detail: printable.Short(err.Error()), Milliseconds: took(start)})
		return nil, err
	}
	var found, targets []string
	for _, address := range addresses {
		found = append(found, address.Unmap().String())
		if len(targets) < maxTargets {
			targets = append(targets, net.JoinHostPort(address.Unmap().String(), p.port))
		}
	}
	p.show(Step{Name: "resolve", OK: true, Detail: printable.List(found, 0), Milliseconds: took(start)})
	return targets, nil
}

// connect connects to all addresses at once, and settles on the first that works.
func (p *Prober) connect(ctx context.Context, targets []string) error {
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

	details := make([]string, 0, len(targets))
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
	p.show(Step{Name: "connect", OK: connected, Detail: strings.Join(details, "; "), Milliseconds: took(start)})
	if connected {
		return nil
	}
	return errs[0]
}

// dial opens a connection to the address that worked. If there is a proxy for the scheme that
// forwards connections, it goes through that.
func (p *Prober) dial(ctx context.Context, scheme string) (net.Conn, error) {
	if f := p.proxies[scheme]; f != nil && (scheme == address.HTTPS || f.isSocks()) {
		return f.tunnel(ctx, net.JoinHostPort(p.host, p.port))
	}
	return new(net.Dialer).DialContext(ctx, p.network, p.target)
}
