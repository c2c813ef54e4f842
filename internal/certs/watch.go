package certs

import (
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

const (
	// maxCertificates is how many certificates of one upstream are remembered, such as those of
	// the machines behind one name.
	maxCertificates = 16

	// reportInterval is the time between two reports of changes. Changes in between are counted.
	reportInterval = time.Minute
)

// Watch remembers the latest certificates that a server has shown, up to 16 of them, and tells
// its observers of new ones. It is for servers whose certificates are not checked: a new one
// may be a renewal, or another server. The zero value remembers none. Several goroutines may
// use it at once.
type Watch struct {
	mu        sync.Mutex
	seen      []Description // the latest last
	many      bool          // it showed more than are remembered
	observers []*Observer   // the latest last

	reported time.Time   // when a change was last reported
	pending  Report      // the latest change that is not reported yet; no Changes if there is none
	timer    *time.Timer // reports it; nil if there is none
}

// Observer shows certificates to a Watch, and is told what is new.
type Observer struct {
	watch *Watch
	tell  func(Report)
}

// What a Report is about.
const (
	First   News = iota // the first certificate that the server showed
	Changed             // the server showed one that is not remembered
	Many                // the server showed more than can be remembered; reported once
)

// News is what a Report is about.
type News int

// Report tells of a new certificate.
type Report struct {
	News       News
	Shown      Description // the latest new certificate
	Before     Description // the one shown before it
	Changes    int         // since the last report of a change, including this one; only for Changed
	Remembered int         // how many certificates are remembered
}

// Attach returns an observer, which must be detached. The goroutine that shows a new certificate
// calls the observer's function. A change that comes too soon after another is reported later, by
// another goroutine, to the observer that was attached last.
func (w *Watch) Attach(tell func(Report)) *Observer {
	o := &Observer{watch: w, tell: tell}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observers = append(w.observers, o)
	return o
}

// Detach removes the observer. The last one to leave is told what is not reported yet.
func (o *Observer) Detach() {
	w := o.watch
	w.mu.Lock()
	var left Report
	if w.observers = slices.DeleteFunc(w.observers, func(other *Observer) bool { return other == o }); len(w.observers) == 0 {
		left = w.takePending()
	}
	w.mu.Unlock()
	if left.Changes > 0 {
		o.tell(left)
	}
}

// Observe notes the chain that a server showed, which must not be empty. It describes a new
// certificate as Describe does. A change is reported at once, or if another was reported within
// the last minute, when that minute is over, with a count.
func (o *Observer) Observe(chain []*x509.Certificate, host string, roots *x509.CertPool) {
	for _, report := range o.watch.note(chain, host, roots) {
		o.tell(report)
	}
}

// note is Observe, but returns what to report now.
func (w *Watch) note(chain []*x509.Certificate, host string, roots *x509.CertPool) (now []Report) {
	sum := PinOf(chain[0]).String()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, known := range w.seen {
		if known.SHA256 == sum {
			w.seen = append(slices.Delete(w.seen, i, i+1), known)
			return nil
		}
	}
	report := Report{News: Changed, Shown: Describe(chain, host, roots)}
	if len(w.seen) == 0 {
		report.News = First
	} else {
		report.Before = w.seen[len(w.seen)-1]
	}
	if len(w.seen) == maxCertificates {
		w.seen = slices.Delete(w.seen, 0, 1)
		if !w.many {
			w.many = true
			now = append(now, Report{News: Many, Shown: report.Shown, Before: report.Before, Remembered: maxCertificates})
		}
	}
	w.seen = append(w.seen, report.Shown)
	report.Remembered = len(w.seen)
	if report.News == First {
		return append(now, report)
	}

	report.Changes = w.pending.Changes + 1
	w.pending = report
	wait := reportInterval - time.Since(w.reported)
	if wait <= 0 {
		return append(now, w.takePending())
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(wait, w.reportPending)
	}
	return now
}

// takePending returns the changes that are not reported yet, and takes them for reported.
func (w *Watch) takePending() Report {
	report := w.pending
	w.pending = Report{}
	w.stop()
	if report.Changes > 0 {
		w.reported = time.Now()
	}
	return report
}

// reportPending tells the latest observer of the changes that are not reported yet.
func (w *Watch) reportPending() {
	w.mu.Lock()
	if len(w.observers) == 0 || time.Since(w.reported) < reportInterval { // reported meanwhile
		w.mu.Unlock()
		return
	}
	latest := w.observers[len(w.observers)-1]
	report := w.takePending()
	w.mu.Unlock()
	if report.Changes > 0 {
		latest.tell(report)
	}
}

// stop stops the timer.
func (w *Watch) stop() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// Latest returns the certificate of the latest handshake, and whether there was one.
func (w *Watch) Latest() (Description, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return Description{}, false
	}
	return w.seen[len(w.seen)-1], true
}

// HasChanged tells whether the server has shown more than one certificate.
func (w *Watch) HasChanged() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen) > 1
}

// Destruct ends the wait for changes to report. It lets watches be kept in Caddy's usage pools.
func (w *Watch) Destruct() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
	return nil
}
