package proxyos

import (
	"fmt"
	"strings"

	"github.com/proxyos/caddy-proxyos/internal/address"
	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// verdict is what a probe comes to.
type verdict struct {
	works bool           // the address as written
	cause diagnose.Cause // why not, if known
	text  string         // for people
	lines string         // for the Caddyfile; empty if nothing written there would help
}

// judge comes to the verdict on what a probe has found.
func (f findings) judge() verdict {
	switch {
	case f.lookup != nil:
		return f.blame(diagnose.Of(f.lookup), f.lookup)
	case f.connect != nil:
		return f.blame(diagnose.Of(f.connect), f.connect)
	case f.backend.scheme == address.HTTPS:
		return f.judgeHTTPS()
	case f.backend.scheme == address.H2C:
		return f.judgeCleartext(f.h2c)
	}
	return f.judgeCleartext(f.plain)
}

// blame is the verdict that nothing written in the Caddyfile would help.
func (f findings) blame(c diagnose.Cause, err error) verdict {
	v := verdict{cause: c, text: "It does not work: " + c.Hint(f.backend.diagnosed(), err) + "."}
	if c.Hint(f.backend.diagnosed(), err) == "" && err != nil {
		v.text = fmt.Sprintf("It does not work: %v.", err)
	}
	return v
}

// judgeHTTPS is judge for an address that means HTTPS.
func (f findings) judgeHTTPS() verdict {
	handshake := f.handshake
	if f.backend.verify {
		handshake = f.verified
	}
	switch {
	case handshake.worked() && f.https.worked():
		return f.praise()
	case f.https.worked(), f.refusesUnknownClients():
		return f.suggestHTTPS(handshake)
	case f.plain.worked():
		return f.suggest(diagnose.PlainHTTP, f.backend.address.As(address.HTTP))
	case f.h2c.worked():
		return f.suggest(diagnose.SpeaksH2C, f.backend.address.As(address.H2C))
	case f.https.made:
		return f.blame(f.https.cause(), f.https.err)
	case f.handshake.made:
		return f.blame(f.handshake.cause(), f.handshake.err)
	}
	return f.blame(f.verified.cause(), f.verified.err)
}

// refusesUnknownClients tells whether HTTPS fails for want of a client certificate.
func (f findings) refusesUnknownClients() bool {
	last := f.handshake
	if f.https.made {
		last = f.https
	}
	c := last.cause()
	return c == diagnose.ClientCert || f.asked && !last.worked() && c != diagnose.Timeout
}

// judgeCleartext is judge for an address that means HTTP or HTTP/2 cleartext.
func (f findings) judgeCleartext(asWritten trial) verdict {
	switch {
	case asWritten.worked():
		return verdict{works: true, text: "It works as written:", lines: "proxyos " + f.backend.address.String()}
	case f.https.worked(), f.refusesUnknownClients():
		return f.suggestHTTPS(asWritten)
	case f.h2c.worked():
		return f.suggest(diagnose.SpeaksH2C, f.backend.address.As(address.H2C))
	case f.plain.worked():
		return f.suggest(diagnose.SpeaksHTTP1, f.backend.address.As(address.HTTP))
	case f.plain.made && f.plain.cause() == diagnose.RedirectLoop && f.backend.address.Port == "":
		// port 80 of a host whose HTTPS is elsewhere: 443, most likely
		return f.suggest(diagnose.RedirectLoop, f.backend.address.As(address.HTTPS))
	case f.handshake.worked():
		v := f.blame(f.https.cause(), f.https.err)
		v.text = "It does not work: it speaks TLS, but does not answer HTTP requests over it."
		return v
	}
	return f.blame(asWritten.cause(), asWritten.err)
}

// praise is the verdict that the address works as written, perhaps with an improvement.
func (f findings) praise() verdict {
	v := verdict{works: true, text: "It works as written:", lines: "proxyos " + f.backend.address.String()}
	if f.backend.verify || f.cert == nil {
		return v
	}
	address, options := f.backend.address.String(), f.certificateOptions(f.backend.address)
	v.lines = directive(address, options)
	v.text = "It works as written, but its certificate is not checked. These lines accept no other, not even its renewal:"
	if !strings.HasPrefix(options[0], "tls_pin") {
		v.text = "It works as written, but its certificate is not checked. It would pass; these lines have it checked:"
	}
	return v
}

// suggest is the verdict that another address would work.
func (f findings) suggest(c diagnose.Cause, address string) verdict {
	what, _ := c.Tell(f.backend.diagnosed(), nil)
	return verdict{cause: c, text: fmt.Sprintf("It does not work as written: %s. Write:", what), lines: "proxyos " + address}
}

// suggestHTTPS is the verdict that HTTPS works if the certificate is handled in its way.
func (f findings) suggestHTTPS(asWritten trial) verdict {
	c, err := asWritten.cause(), asWritten.err
	if f.backend.scheme != address.HTTPS && c != diagnose.RedirectLoop {
		c = diagnose.SpeaksTLS
	}
	a := f.backend.address
	if a.Scheme != address.HTTPS && f.backend.scheme != address.HTTPS {
		a.Scheme, a.Network = address.HTTPS, ""
	}
	options := f.certificateOptions(a)
	if f.refusesUnknownClients() {
		options = append(options, "tls_client_auth <cert_file> <key_file>")
		c, err = diagnose.ClientCert, f.https.err
	}
	what, _ := c.Tell(f.backend.diagnosed(), err)
	text := fmt.Sprintf("It does not work as written: %s. ", what)
	switch option := strings.Join(options, " "); {
	case c == diagnose.ClientCert:
		text += "Write, with the certificate and key that it accepts:"
	case !strings.HasPrefix(option, "tls_pin"):
		text += "Write:"
	case c == diagnose.Expired:
		text += "Renew it, or write these lines, which accept this certificate alone:"
	case c == diagnose.NotYetValid:
		text += "Check the clocks, or write these lines, which accept this certificate alone:"
	case c == diagnose.UnknownAuthority && !f.cert.SelfSigned:
		text += "Write `tls_trust_pool file <ca.pem>` with the authority's certificate, or these lines, which accept this certificate alone and not its renewal:"
	default:
		text += "If this is its certificate, write these lines, which accept no other, not even its renewal:"
	}
	return verdict{cause: c, text: text, lines: directive(a.String(), options)}
}

// certificateOptions returns the options by which an HTTPS upstream's certificate is
// accepted, and none that anybody else could show.
func (f findings) certificateOptions(a address.Address) []string {
	unchecked := !infer(a, Upstream{}, nil, defaultOptions()).verify
	switch {
	case f.cert == nil:
		return nil
	case f.cert.Verifies && unchecked:
		return []string{"skip_tls_verify off"}
	case f.cert.Verifies:
		return nil
	case f.otherName != "":
		return []string{"tls_server_name " + f.otherName}
	}
	return []string{"tls_pin " + f.cert.SHA256}
}

// directive returns the directive for one upstream with options.
func directive(address string, options []string) string {
	if len(options) == 0 {
		return "proxyos " + address
	}
	return fmt.Sprintf("proxyos {\n\tupstream %s {\n\t\t%s\n\t}\n}", address, strings.Join(options, "\n\t\t"))
}
