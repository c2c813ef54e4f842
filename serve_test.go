package proxyos

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestTheStatusThatCountsIsTheFirstFinalOne(t *testing.T) {
	for _, test := range []struct {
		written []int
		err     error
		want    int
	}{
		{nil, nil, 200},
		{[]int{103, 204}, nil, 204},
		{[]int{100}, nil, 200},
		{[]int{101}, nil, 101},
		{[]int{201, 500}, nil, 201},
		{nil, caddyhttp.Error(502, errors.New("refused")), 502},
		{nil, errors.New("something else"), 500},
		{[]int{200}, caddyhttp.Error(502, errors.New("too late")), 200},
	} {
		var j journey
		j.answer.ResponseWriter = httptest.NewRecorder()
		for _, status := range test.written {
			j.answer.WriteHeader(status)
		}
		if got := j.status(test.err); got != test.want {
			t.Errorf("written %v, error %v: counts as %d, want %d", test.written, test.err, got, test.want)
		}
	}
}

func TestUpstreamsOfDynamicSourcesAreToldApartByAddress(t *testing.T) {
	all := tried{{Dial: "a:80"}}
	if !all.has(&reverseproxy.Upstream{Dial: "a:80"}) {
		t.Error("a tried upstream counts as new when its source names it anew")
	}
	if all.has(&reverseproxy.Upstream{Dial: "b:80"}) {
		t.Error("an upstream that was never tried counts as tried")
	}
}

func TestTheAnswerCanStillBeHijackedAndFlushed(t *testing.T) {
	served := make(chan error, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var j journey
		j.answer.ResponseWriter = w
		control := http.NewResponseController(&j.answer)
		served <- control.Flush()
		conn, _, err := control.Hijack()
		served <- err
		if err == nil {
			conn.Close()
		}
	}))
	defer server.Close()
	if res, err := http.Get(server.URL); err == nil {
		res.Body.Close()
	}
	for _, what := range []string{"flush", "hijack"} {
		if err := <-served; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
