import numpy as np
import numpy.typing as npt

def place_cells(
    members: npt.NDArray[np.uint16],
    holders: npt.NDArray[np.uint16],
    kinds: npt.NDArray[np.uint8],
    hosts: npt.NDArray[np.int32],
    zones: npt.NDArray[np.int32],
    quotas: npt.NDArray[np.int64],
    prefix_quotas: npt.NDArray[np.int64],
    lead_quotas: npt.NDArray[np.int64],
    copies: int,
    drain_max: int,
    fresh: bool,
) -> None: ...
