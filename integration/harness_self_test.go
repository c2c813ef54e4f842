package integration

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

func TestEachKindOfBackendAnswersAndComesBackOnItsAddress(t *testing.T) {
	ca := proxytest.NewAuthority(t)
	backends := []*backend{
		plain(t, "plain", ""), h2c(t, "h2c", ""), untrusted(t, "self-signed", ""),
		signedBy(t, ca, "signed", "127.0.0.2", "signed.test"), unixSocket(t, "socket"),
	}
	addresses := map[string]string{
		"plain": backends[0].Addr, "h2c": "h2c://" + backends[1].Addr, "self-signed": "https://" + backends[2].Addr,
		"signed": "https://" + backends[3].Addr, "socket": "unix/" + backends[4].Addr,
	}
	for _, b := range backends {
		t.Run(b.Name, func(t *testing.T) {
			s := run(t, "proxyos "+addresses[b.Name]+" {\nskip_tls_verify\n}")
			s.Wants(http.StatusOK, b.Name)
			b.Stop()
			s.Wants(http.StatusBadGateway, "")
			b.Start()
			s.Wants(http.StatusOK, b.Name)
			if got := b.Requests.Load(); got != 2 {
				t.Errorf("the backend counts %d requests, want 2", got)
			}
		})
	}
}

func TestCaddyfileAndJSONServeAlike(t *testing.T) {
	app := plain(t, "app", "")
	bothWays(t, "proxyos "+app.Addr, `{"handler": "proxyos", "upstreams": ["`+app.Addr+`"]}`,
		func(t *testing.T, s *server) { s.Wants(http.StatusOK, "app") })
}

func TestAnswersComeThroughAsTheyAre(t *testing.T) {
	app := plain(t, "app", "")
	app.Answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.Path)
		w.WriteHeader(http.StatusTeapot)
		io.Copy(w, r.Body)
	})
	s := run(t, "proxyos "+app.Addr)
	res, err := s.Client.Post(s.URL+"/a/b", "text/plain", strings.NewReader("tea"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusTeapot || res.Header.Get("X-Path") != "/a/b" || string(body) != "tea" {
		t.Errorf("got %s, %v, %q, %v", res.Status, res.Header, body, err)
	}
	if last := app.Last(); last.Method != http.MethodPost || last.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("the upstream got %s with %v", last.Method, last.Header)
	}
}
