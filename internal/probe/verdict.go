package probe

import (
	"fmt"
	"strings"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
	"github.com/proxyos/caddy-proxyos/internal/printable"
)

// Verdict is what a probe comes to.
type Verdict struct {
	Works     bool           // whether the address works as it is written
	Cause     diagnose.Cause // why not, if known
	Text      string         // for people: one or more sentences
	Caddyfile string         // the lines to write there; empty if nothing written would help
}

// Judge comes to the verdict on what a probe has found.
func (f Findings) Judge() Verdict {
	switch {
	case f.lookup != nil:
		return f.blame(diagnose.Of(f.lookup), f.lookup)
	case f.proxy != nil:
		return f.blame(diagnose.Of(f.proxy), f.proxy)
	case f.connect != nil:
		return f.blame(diagnose.Of(f.connect), f.connect)
	case f.target.Scheme == address.HTTPS:
		return f.judgeHTTPS()
	case f.target.Scheme == address.H2C:
		return f.judgeCleartext(f.h2c)
	}
	return f.judgeCleartext(f.plain)
}

// blame is the verdict that nothing written in the Caddyfile would help.
func (f Findings) blame(c diagnose.Cause, err error) Verdict {
	v := Verdict{Cause: c, Text: "It does not work: " + c.Hint(f.target.Upstream, err) + "."}
	if c.Hint(f.target.Upstream, err) == "" && err != nil {
		v.Text = "It does not work: " + printable.Short(err.Error()) + "."
	}
	return v
}

// judgeHTTPS is Judge for an address that means HTTPS.
func (f Findings) judgeHTTPS() Verdict {
	handshake := f.handshake
	if f.target.Verify {
		handshake = f.verified
	}
	switch {
	case handshake.worked() && f.https.worked():
		return f.praise()
	case f.https.worked(), f.refusesUnknownClients():
		return f.suggestHTTPS(handshake)
	case f.plain.worked():
		return f.suggest(diagnose.PlainHTTP, address.HTTP)
	case f.h2c.worked():
		return f.suggest(diagnose.SpeaksH2C, address.H2C)
	case f.https.made:
		return f.blame(f.https.cause(), f.https.err)
	case f.handshake.made:
		return f.blame(f.handshake.cause(), f.handshake.err)
	}
	return f.blame(f.verified.cause(), f.verified.err)
}

// refusesUnknownClients tells whether HTTPS fails for want of a client certificate.
func (f Findings) refusesUnknownClients() bool {
	last := f.handshake
	if f.https.made {
		last = f.https
	}
	c := last.cause()
	return c == diagnose.ClientCert || f.asked && !last.worked() && c != diagnose.Timeout
}

// judgeCleartext is Judge for an address that means HTTP or HTTP/2 cleartext.
func (f Findings) judgeCleartext(asWritten trial) Verdict {
	switch {
	case asWritten.worked():
		return Verdict{Works: true, Text: "It works as written:", Caddyfile: "proxyos " + f.target.Address.String()}
	case f.https.worked(), f.refusesUnknownClients():
		return f.suggestHTTPS(asWritten)
	case f.h2c.worked():
		return f.suggest(diagnose.SpeaksH2C, address.H2C)
	case f.plain.worked():
		return f.suggest(diagnose.SpeaksHTTP1, address.HTTP)
	case f.plain.made && f.plain.cause() == diagnose.RedirectLoop && f.target.Address.Port == "":
		// port 80 of a host whose HTTPS is elsewhere: 443, most likely
		return f.suggest(diagnose.RedirectLoop, address.HTTPS)
	case f.handshake.worked():
		v := f.blame(f.https.cause(), f.https.err)
		v.Text = "It does not work: it speaks TLS, but does not answer HTTP requests over it."
		return v
	}
	return f.blame(asWritten.cause(), asWritten.err)
}

// praise is the verdict that the address works as written, perhaps with an improvement.
func (f Findings) praise() Verdict {
	v := Verdict{Works: true, Text: "It works as written:", Caddyfile: "proxyos " + f.target.Address.String()}
	if f.target.Verify || f.Certificate == nil {
		return v
	}
	options := f.certificateOptions()
	v.Caddyfile = directive(f.target.Address, "", options)
	v.Text = "It works as written, but its certificate is not checked. These lines accept no other, not even its renewal:"
	if !strings.HasPrefix(options[0], "tls_pin") {
		v.Text = "It works as written, but its certificate is not checked. It would pass; these lines have it checked:"
	}
	return v
}

// suggest is the verdict that another scheme would work.
func (f Findings) suggest(c diagnose.Cause, scheme string) Verdict {
	what, _ := c.Tell(f.target.Upstream, nil)
	a := f.target.Address
	if a.HasPlaceholder() && scheme == address.HTTP {
		return Verdict{Cause: c, Text: fmt.Sprintf("It does not work as written: %s. Write %s.", what, a.As(scheme))}
	}
	return Verdict{Cause: c, Text: fmt.Sprintf("It does not work as written: %s. Write:", what), Caddyfile: directive(a, scheme, nil)}
}

// suggestHTTPS is the verdict that HTTPS works if the certificate is handled in its way.
func (f Findings) suggestHTTPS(asWritten trial) Verdict {
	c, err := asWritten.cause(), asWritten.err
	if f.target.Scheme != address.HTTPS && c != diagnose.RedirectLoop {
		c = diagnose.SpeaksTLS
	}
	a, scheme := f.target.Address, ""
	if a.Scheme != address.HTTPS && f.target.Scheme != address.HTTPS {
		scheme = address.HTTPS
	}
	options := f.certificateOptions()
	if f.refusesUnknownClients() {
		options = append(options, "tls_client_auth <cert_file> <key_file>")
		c, err = diagnose.ClientCert, f.https.err
	}
	what, _ := c.Tell(f.target.Upstream, err)
	text := fmt.Sprintf("It does not work as written: %s. ", what)
	switch option := strings.Join(options, " "); {
	case c == diagnose.ClientCert:
		text += "Write, with the certificate and key that it accepts:"
	case !strings.HasPrefix(option, "tls_pin"):
		text += "Write:"
	case c == diagnose.Expired:
		text += "Renew it, or write these lines, which accept only this certificate:"
	case c == diagnose.NotYetValid:
		text += "Check the clocks, or write these lines, which accept only this certificate:"
	case c == diagnose.UnknownAuthority && !f.Certificate.SelfSigned:
		text += "Write `tls_trust_pool file <ca.pem>` with the authority's certificate, or these lines, which accept only this certificate and not its renewal:"
	default:
		text += "If this is its certificate, write these lines, which accept no other, not even its renewal:"
	}
	return Verdict{Cause: c, Text: text, Caddyfile: directive(a, scheme, options)}
}

// certificateOptions returns the options by which an HTTPS upstream's certificate is
// accepted, and none that anybody else could show.
func (f Findings) certificateOptions() []string {
	switch {
	case f.Certificate == nil:
		return nil
	case f.Certificate.Verifies && !f.target.Verify:
		return []string{"skip_tls_verify off"}
	case f.Certificate.Verifies:
		return nil
	case f.otherName != "":
		return []string{"tls_server_name " + f.otherName}
	}
	return []string{"tls_pin " + f.Certificate.SHA256}
}

// directive returns the directive for one upstream with options, that is to be spoken to by another
// scheme, if one is given.
func directive(a address.Address, scheme string, options []string) string {
	var transport string
	switch {
	case scheme != "" && a.HasPlaceholder(): // which cannot follow a scheme
		a.Scheme = ""
		transport = map[string]string{address.HTTPS: "tls", address.H2C: "versions h2c"}[scheme]
	case scheme == address.HTTPS && a.IsSocket():
		transport = "tls"
	case scheme != "" && a.IsSocket():
		a, _ = address.Parse(a.As(scheme))
	case scheme != "":
		a.Scheme, a.Network = scheme, ""
	}
	if transport == "" && len(options) == 0 {
		return "proxyos " + a.String()
	}
	lines := "upstream " + a.String()
	if len(options) > 0 {
		lines += " {\n\t\t" + strings.Join(options, "\n\t\t") + "\n\t}"
	}
	if transport != "" {
		lines = "transport http {\n\t\t" + transport + "\n\t}\n\t" + lines
	}
	return "proxyos {\n\t" + lines + "\n}"
}
