package proxyos

import "encoding/json"

// instancesPrefix begins the keys of what the instances write about themselves.
const instancesPrefix = "proxyos/instances/"

// record returns what this instance writes about itself.
func (s *steering) record() (key string, value []byte) {
	value, _ = json.Marshal(map[string]string{"id": s.instance})
	return instancesPrefix + s.instance, value
}
