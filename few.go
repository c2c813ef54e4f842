package proxyos

import "slices"

// maxFew is how many entries a few keeps side by side.
const maxFew = 8

// few is a map that has few entries as a rule. Up to eight of them lie side by side, which takes a
// fraction of a map's memory: of the two upstreams of a route, and of its 10,000 routes, that makes
// megabytes. The zero value is empty.
type few[K comparable, V any] struct {
	entries []entry[K, V]
	many    map[K]V // instead of the entries, from the ninth one on
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// get returns the value of a key, and whether there is one.
func (f *few[K, V]) get(key K) (value V, ok bool) {
	if f.many != nil {
		value, ok = f.many[key]
		return value, ok
	}
	for i := range f.entries {
		if one := &f.entries[i]; one.key == key {
			return one.value, true
		}
	}
	return value, false
}

// set gives a key a value.
func (f *few[K, V]) set(key K, value V) {
	i := f.indexOf(key)
	switch {
	case f.many != nil:
		f.many[key] = value
	case i >= 0:
		f.entries[i].value = value
	case len(f.entries) < maxFew:
		f.entries = append(f.entries, entry[K, V]{key, value})
	default:
		f.many = make(map[K]V, 2*maxFew)
		for _, one := range f.entries {
			f.many[one.key] = one.value
		}
		f.many[key] = value
		f.entries = nil
	}
}

// remove removes a key.
func (f *few[K, V]) remove(key K) {
	delete(f.many, key)
	if i := f.indexOf(key); i >= 0 {
		f.entries = slices.Delete(f.entries, i, i+1)
	}
}

// len returns how many keys there are.
func (f *few[K, V]) len() int { return len(f.entries) + len(f.many) }

// indexOf returns the index of a key's entry; -1 if it has none.
func (f *few[K, V]) indexOf(key K) int {
	return slices.IndexFunc(f.entries, func(one entry[K, V]) bool { return one.key == key })
}
