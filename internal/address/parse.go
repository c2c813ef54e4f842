package address

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Parse takes an upstream address apart. It rejects what an upstream cannot have: a path, a
// query, a fragment, user info, white space, an unknown scheme, a port outside 1 to 65535, a port
// without a colon, and an IPv6 address without brackets whose last group may be meant as a port. It ignores a single
// slash at the end. The error names the address, what is wrong with it, and what to write
// instead.
func Parse(text string) (Address, error) {
	a, err := splitAddress(text)
	if err != nil {
		return Address{}, fmt.Errorf("upstream %q: %w", text, err)
	}
	return a, nil
}

// splitAddress is Parse, with errors that do not name the address.
func splitAddress(text string) (Address, error) {
	if text == "" {
		return Address{}, errors.New("the address is empty; write a host and a port, such as app:3000")
	}
	if strings.ContainsFunc(text, unicode.IsSpace) {
		return Address{}, errors.New("white space inside an address; write one address without spaces")
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return Address{}, errors.New("a control character inside an address; use printable characters only")
	}

	var a Address
	rest := text
	if written, after, ok := strings.Cut(text, "://"); ok {
		a.Scheme, rest = strings.ToLower(written), after
		if err := checkScheme(a.Scheme, rest); err != nil {
			return Address{}, err
		}
		if strings.Contains(rest, "{") {
			return Address{}, errPlaceholder(a.Scheme)
		}
	} else if network, after, ok := strings.Cut(text, "/"); ok && isNetwork(network) {
		a.Network, rest = strings.ToLower(network), after
		if a.Network == "unix+h2c" {
			a.Network, a.Scheme = "unix", H2C
		}
		if a.IsSocket() {
			if rest == "" {
				return Address{}, fmt.Errorf("the path of the socket is missing; write %s//run/app.sock", network)
			}
			a.Host = rest
			return a, nil
		}
	}

	rest = strings.TrimSuffix(rest, "/")
	if strings.Count(rest, "{") > strings.Count(rest, "}") {
		return Address{}, errors.New("a placeholder is not closed; write it as {env.APP}:8443")
	}
	if err := checkParts(rest); err != nil {
		return Address{}, err
	}
	host, port, hasPort, err := splitHostPort(rest)
	if err != nil {
		return Address{}, err
	}
	a.Host, a.Port = lowerOutsidePlaceholders(host), port
	if a.Host == "" && (a.Scheme != "" || !hasPort) {
		return Address{}, errors.New("the host is empty; write one, such as localhost:3000")
	}
	if err := checkHost(a.Host); err != nil {
		return Address{}, err
	}
	if !hasPort && a.Scheme == "" && strings.Trim(a.Host, "0123456789") == "" {
		return Address{}, fmt.Errorf("a number is no host; write localhost:%s for a port of this machine", a.Host)
	}
	if hasPort {
		if err := checkPort(port); err != nil {
			return Address{}, err
		}
		if n, err := ParsePort(port); err == nil {
			port = strconv.Itoa(n) // 08006 is port 8006
			a.Port = port
		}
	}
	if a.Scheme == HTTPS && port == "80" {
		return Address{}, fmt.Errorf("https:// and port 80, the HTTP port, contradict each other; write http://%s or https://%s", a.Host, a.Host)
	}
	if a.Scheme == H2C && port == "443" {
		return Address{}, fmt.Errorf("h2c:// is cleartext and port 443 is the HTTPS port; write https://%s", a.Host)
	}
	return a, nil
}

func checkScheme(scheme, rest string) error {
	switch scheme {
	case HTTP, HTTPS, H2C:
		return nil
	case "ws":
		return fmt.Errorf("use http://%s: WebSockets do not need a scheme of their own", rest)
	case "wss":
		return fmt.Errorf("use https://%s: WebSockets do not need a scheme of their own", rest)
	case "unix", "unix+h2c":
		return fmt.Errorf("a socket takes no \"://\"; write %s/%s", scheme, rest)
	default:
		return fmt.Errorf("the scheme %s:// is not supported; write http://, https:// or h2c://, or no scheme", scheme)
	}
}

// isNetwork tells whether a name before the first slash is a network of Caddy's.
func isNetwork(name string) bool {
	switch strings.ToLower(name) {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unix+h2c", "unixgram", "unixpacket", "fd", "fdgram":
		return true
	}
	return false
}

// checkParts rejects the parts of a URL that an upstream cannot have.
func checkParts(rest string) error {
	bare := outsidePlaceholders(rest)
	switch {
	case strings.Contains(bare, ","):
		return errors.New("an upstream is one address; separate several with spaces")
	case strings.Contains(bare, "@"):
		return errors.New("an upstream takes no user info; write only the host, and use `header_up Authorization …` for credentials")
	case strings.Contains(bare, "?"):
		return errors.New("an upstream takes no query; write only the host and the port, and use `rewrite` to change the URI")
	case strings.Contains(bare, "#"):
		return errors.New("an upstream takes no fragment; write only the host and the port")
	case strings.HasPrefix(bare, "/"):
		return fmt.Errorf("a path is no address; write unix/%s for a socket", bare)
	case strings.Contains(bare, "/"):
		return errors.New("an upstream takes no path; write only the host and the port, and use `rewrite` to change the URI")
	}
	return nil
}

// splitHostPort cuts at the colon of the port; hasPort tells if there is one.
func splitHostPort(s string) (host, port string, hasPort bool, err error) {
	if strings.HasPrefix(s, "[") {
		end := strings.LastIndexByte(s, ']')
		if end < 0 {
			return "", "", false, errors.New("the bracket of the IPv6 address is not closed; write it as [2001:db8::1]:8443")
		}
		host, rest := s[1:end], s[end+1:]
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() {
			return "", "", false, fmt.Errorf("[%s] is not an IPv6 address; write it as [2001:db8::1]:8443", host)
		}
		if rest != "" && rest[0] != ':' {
			return "", "", false, fmt.Errorf("%q after the bracket is not a port; write it as [2001:db8::1]:8443", rest)
		}
		return host, strings.TrimPrefix(rest, ":"), rest != "", nil
	}

	bare := outsidePlaceholders(s)
	last := strings.LastIndexByte(bare, ':')
	if last < 0 {
		return s, "", false, nil
	}
	if strings.Count(bare, ":") == 1 {
		return s[:last], s[last+1:], true, nil
	}
	// More than one colon: an IPv6 address, unless its last group may be meant as a port.
	head, group := s[:last], s[last+1:]
	if _, err := netip.ParseAddr(head); err == nil && isDigits(group) {
		return "", "", false, fmt.Errorf("an IPv6 address with a port needs brackets; write [%s]:%s, or [%s] if there is no port", head, group, s)
	}
	if _, err := netip.ParseAddr(s); err != nil {
		return "", "", false, errors.New("too many colons; write one host and one port, and an IPv6 address in brackets: [2001:db8::1]:8443")
	}
	return s, "", false, nil
}

func checkHost(host string) error {
	if strings.Contains(host, ":") {
		return nil // an IPv6 address, parsed already
	}
	for _, r := range outsidePlaceholders(host) {
		if r != '-' && r != '_' && r != '.' && r != '\x00' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return fmt.Errorf("%q cannot be in a host; write a name or an IP address, such as app:3000", r)
		}
	}
	return nil
}

// errPlaceholder says how to write an address with a placeholder and a scheme.
func errPlaceholder(scheme string) error {
	advice := "and `transport http { tls }` for HTTPS"
	switch scheme {
	case HTTP:
		advice = "and put a well-known HTTPS port into the value, since a written one means HTTPS"
	case H2C:
		advice = "and `transport http { versions h2c }`"
	}
	return errors.New("a placeholder cannot follow a scheme; write the address without the scheme, " + advice)
}

// checkPort accepts a number, a range of numbers, and a placeholder.
func checkPort(port string) error {
	if strings.Contains(port, "{") {
		if digits := strings.ReplaceAll(outsidePlaceholders(port), "\x00", ""); digits != "" && !isDigits(digits) {
			return fmt.Errorf("port %q is neither a number nor a placeholder; write it as app:{env.PORT}", port)
		}
		return nil
	}
	if port == "" {
		return errors.New("the port after the colon is missing; write one from 1 to 65535, or leave out the colon")
	}
	first, last, isRange := strings.Cut(port, "-")
	from, err := ParsePort(first)
	if err != nil {
		return err
	}
	if !isRange {
		return nil
	}
	to, err := ParsePort(last)
	if err != nil {
		return err
	}
	if to < from {
		return fmt.Errorf("the port range %s runs backwards; write %d-%d", port, to, from)
	}
	return nil
}

// ParsePort reads a port: only decimal digits, from 1 to 65535. The error quotes what was
// written.
func ParsePort(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || !isDigits(s) || n < 1 || n > 65535 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return n, nil
}

// outsidePlaceholders returns s with each byte of a {placeholder} replaced by NUL, so
// that positions stay the same.
func outsidePlaceholders(s string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	b, depth := []byte(s), 0
	for i, c := range b {
		if c == '{' {
			depth++
		}
		if depth > 0 {
			b[i] = 0
		}
		if c == '}' && depth > 0 {
			depth--
		}
	}
	return string(b)
}

// lowerOutsidePlaceholders lowers the case of a host, but not of its placeholders.
func lowerOutsidePlaceholders(s string) string {
	lower := []byte(s)
	for i, c := range []byte(outsidePlaceholders(s)) {
		if c == '%' {
			break // the zone of an IPv6 address names an interface, whose case matters
		}
		if 'A' <= c && c <= 'Z' {
			lower[i] += 'a' - 'A'
		}
	}
	return string(lower)
}

func isDigits(s string) bool {
	return s != "" && !slices.ContainsFunc([]byte(s), func(c byte) bool { return c < '0' || c > '9' })
}
