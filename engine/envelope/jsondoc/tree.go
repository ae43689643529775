package jsondoc

import "rewrap/engine/envelope/binding"

// node is the root of a tree of pointers. A document is matched against all of
// them in one walk.
type node struct {
	names map[string]*node
	any   *node
	field int  // 1 + the field that ends here; 0: none
	ref   bool // a reference ends here
}

// add returns the node where the pointer ends.
func (n *node) add(p binding.Pointer) *node {
	for _, t := range p {
		child := n.any
		if t != binding.Wildcard {
			child = n.names[t]
		}
		if child == nil {
			child = &node{}
			switch {
			case t == binding.Wildcard:
				n.any = child
			case n.names == nil:
				n.names = map[string]*node{t: child}
			default:
				n.names[t] = child
			}
		}
		n = child
	}
	return n
}
