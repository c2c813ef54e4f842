package integration

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestEachKindOfBackendAnswersAndComesBackOnItsAddress(t *testing.T) {
	ca := newCA(t)
	backends := []*backend{
		plain(t, "plain", ""), h2c(t, "h2c", ""), selfSigned(t, "self-signed", ""),
		signedBy(t, ca, "signed", "127.0.0.2", "signed.test"), unixSocket(t, "socket"),
	}
	addresses := map[string]string{
		"plain": backends[0].addr, "h2c": "h2c://" + backends[1].addr, "self-signed": "https://" + backends[2].addr,
		"signed": "https://" + backends[3].addr, "socket": "unix/" + backends[4].addr,
	}
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			s := run(t, "proxyos "+addresses[b.name]+" {\nskip_tls_verify\n}")
			s.wants(http.StatusOK, b.name)
			b.stop()
			s.wants(http.StatusBadGateway, "")
			b.start()
			s.wants(http.StatusOK, b.name)
			if got := b.requests.Load(); got != 2 {
				t.Errorf("the backend counts %d requests, want 2", got)
			}
		})
	}
}

func TestCaddyfileAndJSONServeAlike(t *testing.T) {
	app := plain(t, "app", "")
	bothWays(t, "proxyos "+app.addr, `{"handler": "proxyos", "upstreams": ["`+app.addr+`"]}`,
		func(t *testing.T, s *server) { s.wants(http.StatusOK, "app") })
}

func TestAnswersComeThroughAsTheyAre(t *testing.T) {
	app := plain(t, "app", "")
	app.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Path", r.URL.Path)
		w.WriteHeader(http.StatusTeapot)
		io.Copy(w, r.Body)
	})
	s := run(t, "proxyos "+app.addr)
	res, err := s.client.Post(s.url+"/a/b", "text/plain", strings.NewReader("tea"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusTeapot || res.Header.Get("X-Path") != "/a/b" || string(body) != "tea" {
		t.Errorf("got %s, %v, %q, %v", res.Status, res.Header, body, err)
	}
	if last := app.last(); last.Method != http.MethodPost || last.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("the upstream got %s with %v", last.Method, last.Header)
	}
}
