"""The gradient checkers of other libraries, with their signatures and on this library's numeric gradient."""
