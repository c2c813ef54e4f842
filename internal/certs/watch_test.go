package certs

import (
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// observed is what an observer has been told.
type observed struct {
	mu      sync.Mutex
	reports []Report
}

func (o *observed) tell(r Report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reports = append(o.reports, r)
}

// take returns what the observer has been told since it was asked last: "first", "many", or the
// number of changes.
func (o *observed) take() string {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	texts := make([]string, len(o.reports))
	for i, r := range o.reports {
		switch texts[i] = fmt.Sprint(r.Changes); r.News {
		case First:
			texts[i] = "first"
		case Many:
			texts[i] = fmt.Sprintf("many of %d", r.Remembered)
		}
	}
	o.reports = nil
	return fmt.Sprint(texts)
}

// newWatch returns an observer of a new watch, a function that shows it a certificate by its
// number, and what it is told.
func newWatch(t *testing.T, certificates int) (show func(numbers ...int), told *observed, observer *Observer) {
	t.Helper()
	chains := make([][]*x509.Certificate, certificates)
	for i := range chains {
		chains[i] = selfSigned(t, "127.0.0.1")
	}
	told = new(observed)
	observer = new(Watch).Attach(told.tell)
	return func(numbers ...int) {
		for _, n := range numbers {
			observer.Observe(chains[n], "127.0.0.1", nil)
		}
	}, told, observer
}

func (o *observed) wants(t *testing.T, when, want string) {
	t.Helper()
	if got := o.take(); got != want {
		t.Errorf("%s: told of %s, want %s", when, got, want)
	}
}

func TestEachNewCertificateIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		show, told, observer := newWatch(t, 3)
		if _, ok := observer.watch.Latest(); ok {
			t.Error("a certificate before the first handshake")
		}
		show(0, 0)
		told.wants(t, "the first certificate, twice", "[first]")
		show(1)
		if r := told.reports[0]; r.Before.SHA256 == r.Shown.SHA256 || r.Before.SHA256 == "" {
			t.Errorf("reported %+v", r)
		}
		if latest, _ := observer.watch.Latest(); latest.SHA256 != told.reports[0].Shown.SHA256 {
			t.Errorf("%s is the latest", latest.SHA256)
		}
		told.wants(t, "another", "[1]")
		show(0, 1, 0, 1)
		time.Sleep(2 * reportInterval)
		told.wants(t, "both again", "[]")
		show(2)
		told.wants(t, "a third, after a while", "[1]")
	})
}

func TestChangesAreReportedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		show, told, _ := newWatch(t, 12)
		show(0, 1)
		told.wants(t, "a single change", "[first 1]")
		time.Sleep(time.Second)
		show(2, 3, 4)
		told.wants(t, "three more within the minute", "[]")
		time.Sleep(reportInterval - time.Second - time.Millisecond)
		told.wants(t, "just before the minute is over", "[]")
		time.Sleep(time.Millisecond)
		told.wants(t, "when it is over, without a handshake", "[3]")
		time.Sleep(reportInterval / 2)
		show(5)
		told.wants(t, "half a minute later", "[]")
		time.Sleep(reportInterval / 2)
		told.wants(t, "a minute after the last report", "[1]")
		time.Sleep(reportInterval)
		told.wants(t, "another minute without a change", "[]")
		show(6)
		told.wants(t, "a single change again", "[1]")
	})
}

func TestMoreThan16CertificatesAreManyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		show, told, observer := newWatch(t, 40)
		for n := range 16 {
			show(n)
		}
		for range 3 {
			for n := range 16 {
				show(n)
			}
		}
		told.wants(t, "16 certificates in turn", "[first 1]")
		time.Sleep(reportInterval)
		told.wants(t, "a minute later", "[14]")
		time.Sleep(reportInterval)
		show(16)
		told.wants(t, "the 17th", "[many of 16 1]")
		for minute := range 10 {
			for n := range 300 {
				show(n % 40)
				time.Sleep(reportInterval / 300)
			}
			if got := told.take(); got != "[300]" && minute > 0 {
				t.Errorf("minute %d of 300 connections to 40 certificates: told of %s", minute, got)
			}
		}
		if n := len(observer.watch.seen); n != maxCertificates {
			t.Errorf("%d certificates are remembered", n)
		}
		observer.Detach()
	})
}

func TestObserversComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		show, before, observer := newWatch(t, 6)
		show(0, 1, 2)
		before.wants(t, "the first observer", "[first 1]")
		after := new(observed)
		next := observer.watch.Attach(after.tell)
		observer.Detach()
		time.Sleep(reportInterval)
		before.wants(t, "one that has left", "[]")
		after.wants(t, "the one after it", "[1]")
		show(3) // a handshake that was under way
		before.wants(t, "one that has left and sees a change", "[]")
		next.Detach()
		after.wants(t, "the last one that leaves", "[1]")
		show(4)
		if err := observer.watch.Destruct(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * reportInterval)
		before.wants(t, "nobody is left", "[]")
		after.wants(t, "nobody is left", "[]")
	})
}
