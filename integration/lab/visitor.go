package lab

import (
	"io"
	"net/http"
	"strconv"
	"testing"
)

// Visitor is a client with a cookie, or none yet.
type Visitor struct {
	Cookie *http.Cookie
	Header http.Header
}

// WithHeader returns a visitor that sends a header field, and keeps no cookie yet.
func WithHeader(name, value string) Visitor {
	return Visitor{Header: http.Header{name: {value}}}
}

// Visit requests / and returns the name of the backend that answered. The visitor keeps the
// cookie that it is given.
func (v *Visitor) Visit(t testing.TB, s *Server) (group string, given *http.Cookie) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range v.Header {
		req.Header[name] = values
	}
	if v.Cookie != nil {
		req.Header.Add("Cookie", v.Cookie.Name+"="+v.Cookie.Value)
	}
	res, err := s.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, err)
	}
	for _, cookie := range res.Cookies() {
		given = cookie
		v.Cookie = cookie
	}
	return string(body), given
}

// Position reads a visitor's position from its cookie.
func (v *Visitor) Position(t testing.TB) float64 {
	t.Helper()
	position, err := strconv.ParseUint(v.Cookie.Value[:16], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return float64(position) / (1 << 64)
}
