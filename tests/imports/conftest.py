from support.files import host
from support.shops import make_shop, shop

__all__ = ["host", "make_shop", "shop"]
