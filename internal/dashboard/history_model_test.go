package dashboard

import (
	"math/rand/v2"
	"testing"
	"time"
)

// model is a history that keeps everything, by the second.
type model struct {
	requests, errors map[int64]uint64
	slow             map[int64]uint64 // requests in the second bucket
	second, counted  int64
	last             Group
	isKnown          bool
}

func (m *model) add(g Group, second int64) {
	passed := second - m.second
	isBack := m.isKnown && (g.Requests < m.last.Requests || g.Errors < m.last.Errors ||
		g.Durations[0] < m.last.Durations[0] || g.Durations[1] < m.last.Durations[1])
	switch {
	case !m.isKnown || passed > remembered:
		*m = model{requests: map[int64]uint64{}, errors: map[int64]uint64{}, slow: map[int64]uint64{}, counted: second, isKnown: true}
	case isBack:
		m.counted = second
	default:
		for name, grown := range map[*map[int64]uint64]uint64{
			&m.requests: g.Requests - m.last.Requests, &m.errors: g.Errors - m.last.Errors, &m.slow: g.Durations[1] - m.last.Durations[1],
		} {
			parts := max(passed, 1)
			for i := range parts { // each gets what is due by its end and was not given before
				due, given := grown*uint64(i+1)/uint64(parts), grown*uint64(i)/uint64(parts)
				(*name)[second-parts+1+i] += due - given
			}
		}
	}
	m.second, m.last = second, g
}

// sum adds up the last seconds, but none before the counts began again.
func (m *model) sum(of map[int64]uint64, seconds int64) (all uint64) {
	for s := max(m.second-seconds, m.counted) + 1; s <= m.second; s++ {
		all += of[s]
	}
	return all
}

func TestHistoryIsThatOfASmallModel(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		h, m := NewHistory(), new(model)
		start := time.Unix(1e9, 0)
		second := int64(0)
		g := Group{Name: "production", Durations: make([]uint64, len(buckets{}))}
		for i := range 150 {
			switch random.IntN(20) {
			case 0:
				second += int64(random.IntN(1200))
			case 1: // twice in a second
			case 2: // a restart
				g.Requests, g.Errors, g.Durations = uint64(random.IntN(5)), 0, make([]uint64, len(buckets{}))
				second++
			default:
				second++
			}
			second *= int64(min(i, 1)) // seconds are counted from the first snapshot
			grown := uint64(random.IntN(50) * random.IntN(2))
			g.Requests += grown
			g.Errors += uint64(random.IntN(int(grown) + 1))
			g.Durations = append([]uint64(nil), g.Durations...)
			g.Durations[random.IntN(2)] += grown
			m.add(g, second)
			jitter := time.Duration(random.IntN(900)-450) * time.Millisecond
			if i == 0 {
				jitter = 0
			}
			h.Add(&Snapshot{Routes: []Route{{Name: "shop", Groups: []Group{g}}}}, start.Add(time.Duration(second)*time.Second+jitter))

			n := h.now("shop", "production")
			want := numbers{seconds: min(m.second-m.counted, rateRange), requests: m.sum(m.requests, rateRange), errors: m.sum(m.errors, rateRange)}
			want.durations = n.durations
			if slow := m.sum(m.slow, quantileRange); n != want || n.durations[1] != slow {
				t.Fatalf("seed %d, second %d: %+v, want %+v and %d slow ones", seed, second, n, want, slow)
			}
		}
	}
}
