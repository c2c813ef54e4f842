package proxyos

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/caddyserver/caddy/v2"
)

// Sticky keeps each client in one group. Each client has a position from 0 to 1, and those
// below the traffic split belong to staging. Sticky does not concern requests that StagingWhen
// or ProductionWhen decides. Raising the split only moves clients to staging, and lowering it
// only moves the last ones back. No state is kept, so all instances of a cluster agree, and
// restarts change nothing. Exactly one of the fields is required.
type Sticky struct {
	// The name of a cookie that holds the client's position. While the split is neither 0 nor
	// 100, it is set for clients that do not send a valid one. It lasts until the browser is
	// closed: HttpOnly, SameSite=Lax, for the path "/", and Secure over TLS. The cookie is not a
	// secret: a client can forge one to choose its group. Routes that a browser reaches under
	// the same host share a cookie of the same name. Default: none; "proxyos" in a Caddyfile
	// that does not name one.
	Cookie string `json:"cookie,omitempty"`

	// Whether shared caches may keep an answer that sets the cookie, if its other headers allow
	// it. They would then hand one client's cookie to all others. Otherwise such an answer gets
	// "Cache-Control: private", unless it says private or no-store already. Only with a Cookie.
	// Default: false.
	Cacheable bool `json:"cacheable,omitempty"`

	// A text with placeholders. Its hash, together with the route's name, is the client's
	// position: the same text, the same group. A text without a placeholder is rejected. A
	// request for which it is empty is decided by the split, as if there were no Sticky.
	// Default: none.
	Key string `json:"key,omitempty"`
}

// defaultCookie is the name of the cookie if none is given.
const defaultCookie = "proxyos"

// check rejects settings that would not work.
func (s *Sticky) check() error {
	switch {
	case s.Cookie == "" && s.Key == "":
		return errors.New("sticky: neither a cookie nor a key is given; write `sticky cookie` or `sticky key <placeholder>`")
	case s.Cookie != "" && s.Key != "":
		return fmt.Errorf("sticky: both a cookie (%q) and a key (%q) are given; keep one of them", s.Cookie, s.Key)
	case s.Key != "" && s.Cacheable:
		return errors.New("sticky: cacheable is about the answers that set a cookie, and a key sets none; remove it")
	case s.Key != "" && !strings.Contains(s.Key, "{"):
		return fmt.Errorf("sticky: the key %q is the same for every client; write a placeholder, such as {http.request.header.X-User}", s.Key)
	case s.Cookie != "" && (&http.Cookie{Name: s.Cookie, Value: "0"}).Valid() != nil:
		return fmt.Errorf("sticky: %q cannot be the name of a cookie; write letters, digits, '-' and '_'", s.Cookie)
	}
	return nil
}

// goldenRatio is the fractional part of the golden ratio, times 2⁶⁴. Its multiples are so evenly
// spread that even the first few clients are divided as the split says.
const goldenRatio = 0x9E3779B97F4A7C15

// cohorts determines the positions of a route's clients, as fractions of 2⁶⁴.
type cohorts struct {
	sticky *Sticky
	salt   uint64
	state  *routeState
}

func newCohorts(sticky *Sticky, routeName string, state *routeState) *cohorts {
	return &cohorts{sticky: sticky, salt: xxhash.Sum64String(routeName), state: state}
}

// position returns the position of the client that sent r; ok is false if it has none. The
// cookie, if there is one, is to be set with the answer: it holds a new position, which the
// client gets while there is a split that it would bear on.
func (c *cohorts) position(r *http.Request, share *share) (position uint64, cookie string, ok bool) {
	if c.sticky.Key != "" {
		position, ok = c.keyPosition(r)
		return position, "", ok
	}
	for _, cookie := range r.CookiesNamed(c.sticky.Cookie) {
		if position, ok := decodePosition(cookie.Value); ok {
			return position, "", true
		}
	}
	if !share.isSplit() {
		return 0, "", false
	}
	position = c.state.positions.Add(goldenRatio)
	issued := http.Cookie{
		Name:     c.sticky.Cookie,
		Value:    encodePosition(position),
		Path:     "/",
		HttpOnly: true,
		Secure:   r.TLS != nil,
		SameSite: http.SameSiteLaxMode,
	}
	return position, issued.String(), true
}

func (c *cohorts) keyPosition(r *http.Request) (uint64, bool) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	key := repl.ReplaceAll(c.sticky.Key, "")
	if key == "" {
		return 0, false
	}
	var digest xxhash.Digest
	digest.ResetWithSeed(c.salt)
	_, _ = digest.WriteString(key) // never fails
	return digest.Sum64(), true
}

// In a cookie, a position is 16 hexadecimal digits, followed by 8 of a checksum that tells it
// from a truncated or made-up value.
const (
	positionDigits = 16
	checksumDigits = 8
)

func encodePosition(position uint64) string {
	digits := fmt.Sprintf("%0*x", positionDigits, position)
	return fmt.Sprintf("%s%0*x", digits, checksumDigits, checksum(digits))
}

func decodePosition(value string) (uint64, bool) {
	if len(value) != positionDigits+checksumDigits || strings.Trim(value, "0123456789abcdef") != "" {
		return 0, false // upper case, too, which strconv would accept
	}
	digits := value[:positionDigits]
	position, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return 0, false
	}
	sum, err := strconv.ParseUint(value[positionDigits:], 16, 32)
	return position, err == nil && uint32(sum) == checksum(digits)
}

func checksum(digits string) uint32 { return uint32(xxhash.Sum64String(digits)) }
