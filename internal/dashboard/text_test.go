package dashboard

import (
	"testing"
	"time"
)

func TestNumbersAreShort(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{rateText(0), "0"}, {rateText(0.001), "< 0.01"}, {rateText(0.1), "0.10"}, {rateText(12.34), "12.3"},
		{rateText(99.94), "99.9"}, {rateText(99.96), "100"}, {rateText(12345.6), "12\u202f346"},
		{shareText(0), "0 %"}, {shareText(0.0001), "< 0.01 %"}, {shareText(0.5), "0.50 %"}, {shareText(12.34), "12.3 %"}, {shareText(100), "100 %"},
		{countText(9999), "9999"}, {countText(10000), "10\u202f000"}, {countText(1234567), "1\u202f234\u202f567"},
		{percentText(12.5), "12.5 %"}, {percentText(0), "0 %"},
		{latencyText(850 * time.Microsecond), "0.8 ms"}, {latencyText(9960 * time.Microsecond), "10 ms"}, {latencyText(123 * time.Millisecond), "123 ms"},
		{latencyText(999600 * time.Microsecond), "1.00 s"}, {latencyText(2500 * time.Millisecond), "2.50 s"}, {latencyText(10 * time.Second), "> 10 s"},
		{agoText(-time.Second), "0 s"}, {agoText(59 * time.Second), "59 s"}, {agoText(272 * time.Second), "4 min 32 s"}, {agoText(11*time.Minute + time.Second), "11 min"},
		{agoText(125 * time.Minute), "2 h 5 min"}, {agoText(25 * time.Hour), "1 day"}, {agoText(72 * time.Hour), "3 days"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestClocksHaveADateOnOtherDays(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for at, want := range map[time.Time]string{
		{}:                         none,
		now.Add(-time.Hour):        "11:00:00",
		now.Add(-13 * time.Hour):   "2026-02-28 23:00:00",
		now.Add(-time.Hour).UTC():  "11:00:00",
		now.AddDate(1, 0, 0).UTC(): "2027-03-01 12:00:00",
	} {
		if got := clockText(at, now); got != want {
			t.Errorf("%v: %q, want %q", at, got, want)
		}
	}
}

func TestHealthIsNeverGoodWhileSomethingIsDown(t *testing.T) {
	up, down, trial := upstream("a"), upstream("b"), upstream("c")
	down.Health, trial.Health = "down", "on trial"
	full, drained, again := upstream("d"), upstream("e"), down
	full.Health, drained.Drained, again.Repeated = "full", true, true
	for _, c := range []struct {
		upstreams   []Upstream
		isDynamic   bool
		text, class string
	}{
		{[]Upstream{up, up}, false, "2 of 2 up", good},
		{[]Upstream{up, down}, false, "1 of 2 up", warn},
		{[]Upstream{up, trial}, false, "1 of 2 up", warn},
		{[]Upstream{up, full}, false, "1 of 2 up, 1 full", warn},
		{[]Upstream{up, drained}, false, "1 of 1 up, 1 drained", good},
		{[]Upstream{down}, false, "0 of 1 up", bad},
		{[]Upstream{drained}, false, "1 drained", warn},
		{[]Upstream{up, down, again}, false, "1 of 2 up", warn},
		{nil, true, "dynamic", plain},
		{nil, false, "no upstreams", warn},
		{[]Upstream{up}, true, "1 of 1 up", good},
	} {
		g := group("production", c.upstreams...)
		g.Dynamic = c.isDynamic
		got := new(builder).groupHealth("g0", &g)
		if got.Text.Value != c.text || got.Class.Value != c.class {
			t.Errorf("%q as %q, want %q as %q", got.Text.Value, got.Class.Value, c.text, c.class)
		}
	}
}

func TestCertificatesAreToldByTheirState(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		certificate Certificate
		text, class string
	}{
		{Certificate{State: "checked"}, "checked", plain},
		{Certificate{State: "pinned", Subject: "CN=app", NotAfter: now.Add(20*24*time.Hour + time.Minute)}, "pinned · CN=app · 20 days left", plain},
		{Certificate{State: "checked", NotAfter: now.Add(25 * time.Hour)}, "checked · 1 day left", warn},
		{Certificate{State: "checked", NotAfter: now.Add(2 * time.Hour)}, "checked · 2 h 0 min left", warn},
		{Certificate{State: "checked", NotAfter: now.Add(-72 * time.Hour)}, "checked · expired for 3 days", bad},
		{Certificate{State: "changed", Subject: "CN=x"}, "changed · CN=x", bad},
		{Certificate{State: "not checked", Problem: "self-signed"}, "not checked · self-signed", warn},
	} {
		if text, class := certificateText(&c.certificate, now); text != c.text || class != c.class {
			t.Errorf("%q as %q, want %q as %q", text, class, c.text, c.class)
		}
	}
}
