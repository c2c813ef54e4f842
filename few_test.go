package proxyos

import (
	"math/rand/v2"
	"testing"
)

// TestAFewIsAMap has random histories of keys, few and many, compared with a map.
func TestAFewIsAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var f few[int, int]
		model := make(map[int]int)
		keys := 1 + random.IntN(3*maxFew)
		for step := range 100 {
			key := random.IntN(keys)
			if random.IntN(3) == 0 {
				f.remove(key)
				delete(model, key)
			} else {
				f.set(key, step)
				model[key] = step
			}
			if f.len() != len(model) {
				t.Fatalf("it has %d keys; want %d", f.len(), len(model))
			}
			for key := range keys {
				got, ok := f.get(key)
				if want, wantOK := model[key]; got != want || ok != wantOK {
					t.Fatalf("key %d: got %d, %t; want %d, %t", key, got, ok, want, wantOK)
				}
			}
		}
	}
}
