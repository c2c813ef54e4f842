package proxyos

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

var (
	releaseStateDesc = prometheus.NewDesc("caddy_proxyos_release_state",
		"What the release of the route is doing: 0 none yet, 1 running, 2 paused, 3 done, 4 rolled back, 5 stopped.", []string{"route"}, nil)
	releaseStepDesc = prometheus.NewDesc("caddy_proxyos_release_step",
		"Which of its steps the release of the route is on, from 1; 0 if none is going on.", []string{"route"}, nil)
	releaseEvidenceDesc = prometheus.NewDesc("caddy_proxyos_release_evidence",
		"The decimal logarithm of the evidence that staging is worse than tolerated.", []string{"route", "metric"}, nil)
)

// phaseNumbers are the phases as a metric has them.
var phaseNumbers = map[release.Phase]float64{release.Running: 1, release.Paused: 2, release.Done: 3, release.RolledBack: 4, release.Stopped: 5}

func describeReleases(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{releaseStateDesc, releaseStepDesc, releaseEvidenceDesc} {
		descs <- desc
	}
}

// collectRelease tells where the release of a route is, if one is configured or was ever started.
func (r *route) collectRelease(metrics chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{r.name}, labels...)...)
	}
	state, decision := r.state.latestRelease()
	if r.name == "" || r.release == nil && state == nil {
		return
	}
	phase, step := 0.0, 0
	if state != nil {
		phase = phaseNumbers[state.Phase]
		if state.IsActive() {
			step = state.Step + 1
		}
	}
	gauge(releaseStateDesc, phase)
	gauge(releaseStepDesc, float64(step))
	for _, test := range decision.Tests {
		gauge(releaseEvidenceDesc, test.LogE/math.Ln10, test.Test)
	}
}
