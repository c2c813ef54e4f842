package faults

import (
	"net/http"
	"testing"
)

func TestAnErrorAfterTheAnswerIsNotTheUpstreams(t *testing.T) {
	app := plain(t, "app", "")
	s := run(t, "proxyos "+app.Addr+" {\nname app\n@ok status 200\nhandle_response @ok {\nerror 404\n}\n}")
	for range 3 {
		s.Wants(http.StatusNotFound, "")
	}
	upstream := s.Route().Groups[0].Upstreams[0]
	if upstream.Requests != 3 || upstream.Errors != 0 {
		t.Errorf("of %d requests %d count as errors of the upstream, want 0 of 3", upstream.Requests, upstream.Errors)
	}
}
