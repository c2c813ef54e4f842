package proxyos

import (
	"encoding/json"
	"fmt"
	"maps"
)

// fields are those of a JSON object, by name. What is left of them, once the known ones are
// taken, is handed on as it is: a newer program may have written it.
type fields map[string]json.RawMessage

// take decodes a field, if it is there, and removes it.
func (f fields) take(name string, into any) error {
	raw, ok := f[name]
	if !ok {
		return nil
	}
	delete(f, name)
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// encodeWith encodes the fields and the known ones as one object.
func (f fields) encodeWith(known map[string]any) ([]byte, error) {
	all := make(map[string]any, len(f)+len(known))
	for name, raw := range f {
		all[name] = raw
	}
	maps.Copy(all, known)
	return json.Marshal(all)
}
