"""How layers that nobody names any more go: each is merged with the one thing that lies on it."""

from __future__ import annotations

from dataclasses import replace

from covey.model.instance import Disk, Instance
from covey.model.plan import Write, change, delete, put
from covey.model.pool import Volume
from covey.model.snapshot import Layer
from covey.model.step import Step
from covey.model.steps.disk import EnsureVolumeAbsent
from covey.model.steps.snapshot import EnsureMerged
from covey.model.view import ClusterView
from covey.planner.instance.parts import domain_of
from covey.planner.layers import Tree, removal
from covey.planner.wording import named


class Merging:
    """Layers of one instance given up one by one: `tree` and `instance` are as they are after the steps so far."""

    def __init__(self, view: ClusterView, instance: Instance) -> None:
        self.instance = instance
        self.tree = Tree(view)
        self.steps: list[Step] = []
        self.reasons: list[str] = []
        self._view = view
        self._before = Tree(view)
        self._first = instance

    def give_up(self, id: str, index: int) -> None:
        """A layer of disk `index` that no snapshot has: it goes, unless others need it as it is."""
        tree, layer = self.tree, self.tree.layers[id]
        disks, layers = tree.disks_on(id), tree.layers_on(id)
        if not disks and not layers:
            self.steps += removal(tree.drop_unneeded([id]))[0]
        elif foreign := (tree.users(id) - {self.instance.id}):
            names = sorted(other.name for other in self._view.instances if other.id in foreign)
            names += sorted(one.title for one in self._view.removed if f"removed/{one.id}" in foreign)
            self.reasons.append(f"what disk {index} held then stays on the machine, as disks of {named(names)} lie on it")
        elif len(disks) + len(layers) > 1:
            self.reasons.append(f"what disk {index} held then stays on the machine, as several layers lie on it")
        elif disks:
            self._merge_disk(disks[0][1], layer)
        else:
            self._merge_layer(index, layers[0], layer)

    def tidy(self) -> None:
        """Give up what was kept for others who no longer need it."""
        for disk in self.instance.disks:
            id = self._disk(disk.index).base
            while id in self.tree.layers:
                below = self.tree.layers[id].base
                alone = len(self.tree.disks_on(id)) + len(self.tree.layers_on(id)) == 1
                if alone and not self.tree.snapshots_of(id) and self.tree.users(id) == {self.instance.id}:
                    self.give_up(id, disk.index)
                id = below

    def _disk(self, index: int) -> Disk:
        return next(disk for owner, disk in self.tree.disks.values() if owner == self.instance.id and disk.index == index)

    def _merge_disk(self, disk: Disk, layer: Layer) -> None:
        """What was written since goes down into the layer, which is the disk's volume again."""
        volume = replace(layer.volume, size=disk.size)
        del self.tree.layers[layer.id]
        del self.tree.disks[disk.volume.id]
        self.tree.disks[volume.id] = self.instance.id, replace(disk, volume=volume, base=layer.base)
        self._merge(disk.index, layer, disk.volume, volume, ())

    def _merge_layer(self, index: int, top: Layer, layer: Layer) -> None:
        """The layer takes the place of the one above it."""
        tree = self.tree
        volume = replace(layer.volume, size=top.volume.size)
        layers, disks = tree.layers_on(top.id), tree.disks_on(top.id)
        tree.layers[layer.id] = replace(layer, volume=volume, frozen_at=top.frozen_at)
        for one in layers:
            tree.layers[one.id] = replace(one, base=layer.id)
        for owner, disk in disks:
            tree.disks[disk.volume.id] = owner, replace(disk, base=layer.id)
        for snapshot in tree.snapshots_of(top.id):
            kept = tuple(replace(disk, layer=layer.id) if disk.layer == top.id else disk for disk in snapshot.disks)
            tree.snapshots[snapshot.id] = replace(snapshot, disks=kept)
        del tree.layers[top.id]
        self._merge(index, layer, top.volume, volume, (*(one.volume for one in layers), *(disk.volume for _, disk in disks)))

    def _merge(self, index: int, layer: Layer, top: Volume, base: Volume, above: tuple[Volume, ...]) -> None:
        self.instance = replace(self.instance, disks=tuple(self._disk(disk.index) for disk in self.instance.disks))
        domain = domain_of(self._view, self.instance)
        self.steps += [
            EnsureMerged(node=layer.node, instance=self.instance.id, disk=index, top=top, base=base, above=above, domain=domain),
            EnsureVolumeAbsent(node=layer.node, volume=top),
        ]

    def writes(self) -> tuple[Write, ...]:
        """What is different from the records."""
        before, after = self._before, self.tree
        writes = [delete(layer) for id, layer in sorted(before.layers.items()) if id not in after.layers]
        writes += [put(layer) for id, layer in sorted(after.layers.items()) if layer != before.layers.get(id)]
        writes += [delete(one) for id, one in sorted(before.snapshots.items()) if id not in after.snapshots]
        writes += [put(one) for id, one in sorted(after.snapshots.items()) if one != before.snapshots.get(id)]
        return (*writes, *((change(self.instance, "disks"),) if self.instance != self._first else ()))
