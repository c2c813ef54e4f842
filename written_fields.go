package proxyos

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// writtenFields are the fields of reverse_proxy as the operator wrote them. They answer
// whether something was written at all, which a decoded zero cannot.
type writtenFields object

// has tells whether a field is written, the last name of the path being inside those before
// it. A null counts as not written.
func (w writtenFields) has(path ...string) bool {
	fields := object(w)
	for _, name := range path {
		inner := json.RawMessage(nil)
		for key, value := range fields {
			if strings.EqualFold(key, name) {
				inner = value
			}
		}
		if inner = dropNull(inner); inner == nil {
			return false
		}
		fields, _ = decodeObject(inner) // what is no object has no fields
	}
	return true
}

// object is a JSON object whose fields are not decoded.
type object = map[string]json.RawMessage

// decodeObject decodes the fields of a JSON object, those that are null left out.
func decodeObject(raw json.RawMessage) (object, error) {
	fields := make(object)
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, errNotObject(raw)
	}
	maps.DeleteFunc(fields, func(_ string, value json.RawMessage) bool { return dropNull(value) == nil })
	return fields, nil
}

func errNotObject(raw json.RawMessage) error {
	return fmt.Errorf("%s is not an object; write {…}", raw)
}

// dropNull returns nil for a null.
func dropNull(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// encode returns the JSON of a value that always has one.
func encode(value any) json.RawMessage {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic("proxyos: encoding configuration: " + err.Error())
	}
	return encoded
}
