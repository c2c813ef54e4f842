package proxyos

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// An upstream's informational answers come from another goroutine than the one that judges
// the attempt. The race detector finds a field that both use.
func TestInformationalAnswersWhileTheJourneyEnds(t *testing.T) {
	j := new(journey)
	j.answer.ResponseWriter, j.answer.cookie = httptest.NewRecorder(), "a=b"
	done := make(chan struct{})
	go func() {
		defer close(done)
		j.answer.WriteHeader(http.StatusContinue)
	}()
	_ = j.stop(http.StatusBadGateway, errors.New("some failure"))
	<-done
	if j.answer.status != 0 || j.answer.cookie == "" {
		t.Errorf("100 was taken for the answer: status %d, cookie %q", j.answer.status, j.answer.cookie)
	}
	j.answer.WriteHeader(statusClientGone)
	if j.answer.status != 0 {
		t.Errorf("%d was passed on", j.answer.status)
	}
}
