"""A network card of this machine becomes the port of a bridge, and what it carried moves to the bridge; or back again."""
