package proxyos

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/proxyos/caddy-proxyos/internal/diagnose"
)

// upstreamMeasures is what is counted of an upstream besides attempts, where upstream_metrics is
// on. A nil one counts nothing.
type upstreamMeasures struct {
	errors  [len(diagnose.Causes) + 1]atomic.Uint64 // by cause; the last: any other
	headers durationHistogram                       // until the header of an answer had come
}

// otherCause stands for what diagnose does not know.
const otherCause = "other"

// failed counts a failed attempt. err is nil if nobody knows why.
func (m *upstreamMeasures) failed(err error) {
	if m == nil {
		return
	}
	place := slices.Index(diagnose.Causes[:], diagnose.Of(err))
	if place < 0 {
		place = len(diagnose.Causes)
	}
	m.errors[place].Add(1)
}

// begin returns when an attempt began, for answered.
func (m *upstreamMeasures) begin() (began time.Time) {
	if m == nil {
		return began
	}
	return time.Now()
}

// answered counts an attempt that has got the header of an answer.
func (m *upstreamMeasures) answered(began time.Time) {
	if m != nil {
		m.headers.observe(time.Since(began))
	}
}

var (
	upstreamRequestsDesc = upstreamDesc("requests_total", "Attempts at the upstream, retries included.")
	upstreamErrorsDesc   = upstreamDesc("errors_total", "Attempts that failed by the upstream's fault, by cause.", "cause")
	upstreamInFlightDesc = upstreamDesc("requests_in_flight", "Requests in flight at the upstream.")
	upstreamHealthyDesc  = upstreamDesc("healthy", "1 if the upstream counts as up, 0 if it is down, ejected or on trial.")
	upstreamDrainedDesc  = upstreamDesc("drained", "1 if the upstream is drained, 0 if not.")
	upstreamWeightDesc   = upstreamDesc("weight", "The weight of the upstream that applies.")
	upstreamHeaderDesc   = upstreamDesc("response_header_seconds",
		"How long attempts took until the header of the answer had come, of those that got one.")
)

func upstreamDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_proxyos_upstream_"+name, help, append([]string{"route", "group", "upstream"}, labels...), nil)
}

func describeUpstreams(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		upstreamRequestsDesc, upstreamErrorsDesc, upstreamInFlightDesc, upstreamHealthyDesc, upstreamDrainedDesc, upstreamWeightDesc, upstreamHeaderDesc,
	} {
		descs <- desc
	}
}

// upstreamSum is what one set of series tells: of an upstream that is written once, and of all
// that share its labels, in routes without a name or because it is written twice.
type upstreamSum struct {
	requests          uint64
	errors            [len(diagnose.Causes) + 1]uint64
	inFlight          int64
	isDown, isDrained bool // any is
	weight            int
	isWeighed         bool // chosen by turns, not by a policy
	headers           durationCounts
}

// add adds an upstream of a group.
func (s *upstreamSum) add(g *group, t *target) {
	s.isDown = s.isDown || !g.isProven(t.upstream)
	s.isDrained = s.isDrained || t.isDrained()
	if g.policy == nil {
		s.weight, s.isWeighed = s.weight+t.weight(), true
	}
	if t.isRepeat {
		return
	}
	s.requests += t.counts.requests.Load()
	s.inFlight += t.counts.inFlight.Load()
	for i := range t.measures.errors {
		s.errors[i] += t.measures.errors[i].Load()
	}
	s.headers = t.measures.headers.addTo(s.headers)
}

// collectUpstreams collects the metrics of the configured upstreams of all routes.
func (c *collector) collectUpstreams(metrics chan<- prometheus.Metric) {
	type key struct{ route, group, dial string }
	sums := make(map[key]*upstreamSum)
	for _, route := range c.routes.all() {
		for _, g := range route.groups {
			for _, t := range g.targets {
				k := key{route.name, g.name, t.backend.dial}
				if sums[k] == nil {
					sums[k] = new(upstreamSum)
				}
				sums[k].add(g, t)
			}
		}
	}
	for k, s := range sums {
		s.collect(metrics, k.route, k.group, k.dial)
	}
}

// collect collects the metrics of one set of labels.
func (s *upstreamSum) collect(metrics chan<- prometheus.Metric, labels ...string) {
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, more ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, kind, value, slices.Concat(labels, more)...)
	}
	send(upstreamRequestsDesc, prometheus.CounterValue, float64(s.requests))
	for i, cause := range diagnose.Causes {
		send(upstreamErrorsDesc, prometheus.CounterValue, float64(s.errors[i]), string(cause))
	}
	send(upstreamErrorsDesc, prometheus.CounterValue, float64(s.errors[len(diagnose.Causes)]), otherCause)
	send(upstreamInFlightDesc, prometheus.GaugeValue, float64(s.inFlight))
	send(upstreamHealthyDesc, prometheus.GaugeValue, zeroOrOne(!s.isDown))
	send(upstreamDrainedDesc, prometheus.GaugeValue, zeroOrOne(s.isDrained))
	if s.isWeighed {
		send(upstreamWeightDesc, prometheus.GaugeValue, float64(s.weight))
	}
	metrics <- s.headers.metric(upstreamHeaderDesc, labels...)
}

func zeroOrOne(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
